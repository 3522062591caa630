"""A day of traffic for five models: made from a seed, the same every time.

People come in sessions that mostly stay with one model, more of them by day than by night, with model preferences that
drift over the hours; batch jobs arrive in bursts. All of it is invented: it stands for no team's real traffic.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass

from models_node.catalogue import ModelEntry
from models_node.residency.decide import Priority

GIB = 2**30
HOUR = 3600.0
DAY_SECONDS = 24 * HOUR
SEEDS = tuple(range(1, 21))
BUDGET_BYTES = 80 * GIB  # of 123 GiB that all five would need
SESSIONS_AN_HOUR = 26  # at the busiest hour


@dataclass(frozen=True, slots=True)
class Sort:
    """A model: its memory, how long a load takes, what an answer takes, how often it is asked for."""

    model: str
    gib: int
    load_seconds: float
    answer_seconds: float
    weight: float
    priority: int
    places: int


SORTS = (
    Sort("phi4_fast", 14, 14, 9, 0.38, 5, 16),
    Sort("mistral_balanced", 20, 20, 16, 0.20, 4, 16),
    Sort("qwen_coder", 8, 10, 8, 0.24, 3, 16),
    Sort("gemma3_multimodal", 60, 55, 40, 0.08, 2, 8),
    Sort("aya_expanse_multilingual", 21, 22, 18, 0.10, 2, 16),
)


@dataclass(frozen=True, slots=True, order=True)
class Arrival:
    at: float
    model: str
    service_seconds: float
    priority: Priority


def entries() -> tuple[ModelEntry, ...]:
    return tuple(
        ModelEntry(
            id=sort.model, domain="general", description="", context_length=8192, weights=sort.model,
            memory_estimate=sort.gib * GIB, keep_alive_seconds=DAY_SECONDS, priority=sort.priority,
            max_concurrent=sort.places, max_waiting=10_000,
        )
        for sort in SORTS
    )  # fmt: skip


def day(seed: int) -> list[Arrival]:
    """Every request of the day, by time."""
    dice = random.Random(seed)
    found: list[Arrival] = []
    mood = {sort.model: dice.uniform(0, 2 * math.pi) for sort in SORTS}
    at = 0.0
    while at < DAY_SECONDS:
        at += dice.expovariate(SESSIONS_AN_HOUR / HOUR)
        if dice.random() <= _busyness(at):
            found += _session(dice, at, mood)
    for _ in range(dice.randint(4, 8)):
        found += _burst(dice)
    heapq.heapify(found)
    return [heapq.heappop(found) for _ in range(len(found))]


def _busyness(at: float) -> float:
    """Share of the busiest hour's sessions: two peaks by day, little at night."""
    hour = at / HOUR
    return 0.06 + 0.9 * max(math.exp(-((hour - 11) ** 2) / 5), math.exp(-((hour - 17) ** 2) / 6))


def _session(dice: random.Random, at: float, mood: dict[str, float]) -> list[Arrival]:
    model = _pick(dice, at, mood)
    turns: list[Arrival] = []
    for _ in range(1 + int(dice.expovariate(1 / 5))):
        if dice.random() < 0.15:  # the topic changes, and with it the model
            model = _pick(dice, at, mood)
        service = _service(dice, model)
        turns.append(Arrival(at, model, service, Priority.INTERACTIVE))
        at += service + dice.lognormvariate(math.log(35), 0.8)
    return turns


def _burst(dice: random.Random) -> list[Arrival]:
    at = dice.uniform(0, DAY_SECONDS)
    model = dice.choices([sort.model for sort in SORTS], [1, 2, 2, 1, 2])[0]
    return [
        Arrival(at + n * dice.uniform(0.2, 2.0), model, _service(dice, model), Priority.BATCH)
        for n in range(dice.randint(20, 90))
    ]


def _pick(dice: random.Random, at: float, mood: dict[str, float]) -> str:
    weights = [sort.weight * (1 + 0.7 * math.sin(at / (3 * HOUR) + mood[sort.model])) for sort in SORTS]
    return dice.choices([sort.model for sort in SORTS], weights)[0]


def _service(dice: random.Random, model: str) -> float:
    mean = next(sort.answer_seconds for sort in SORTS if sort.model == model)
    return mean * dice.lognormvariate(-0.18, 0.6)
