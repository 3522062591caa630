"""Waiting and loading over a day on a virtual clock: our rules, plain LRU, and those of Ollama and llama-swap.

    python -m bench.residency [--seeds 20] [--json FILE]

Five models that need 123 GiB in a budget of 80. Every policy sees the same twenty days (`bench/_day.py`); the rules of
others are written down from their documentation (`bench/_peer_rules.py`), their programs are not run. Waiting is the
time from a request's arrival to its place in an engine. Ratios are other / ours, so above 1 is better for us.
"""

from __future__ import annotations

import argparse
import heapq
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench._day import BUDGET_BYTES, SEEDS, SORTS, Arrival, day, entries
from bench._peer_rules import LlamaSwapMatrix, OllamaRules, PlainLru
from bench._streams import report
from models_node.residency import events as e
from models_node.residency.core import Core
from models_node.residency.decide import Priority
from models_node.residency.limits import ResidencyLimits

STOP_SECONDS = 2.0  # from the signal to the memory being free
LOAD_SECONDS = {sort.model: sort.load_seconds for sort in SORTS}


class Policy(Protocol):
    def handle(self, event: e.Event, now: float) -> list[e.Effect]: ...

    def due(self, now: float) -> float | None: ...


@dataclass(frozen=True, slots=True)
class DayResult:
    """Seconds waited by each request, and the number of loads."""

    interactive: tuple[float, ...]
    batch: tuple[float, ...]
    loads: int
    refused: int


def ours() -> Policy:
    return Core(entries(), ResidencyLimits(BUDGET_BYTES, queue_limit=100_000, queue_timeout_seconds=1e9))


POLICIES: dict[str, Callable[[], Policy]] = {
    "capibara6": ours,
    "plain_lru": lambda: PlainLru(entries(), BUDGET_BYTES),
    "ollama_rules": lambda: OllamaRules(entries(), BUDGET_BYTES),
    "llama_swap_rules": lambda: LlamaSwapMatrix(entries(), BUDGET_BYTES),
}


class Day:
    """One policy through one day. The clock jumps from event to event."""

    def __init__(self, policy: Policy, arrivals: list[Arrival]) -> None:
        self._policy = policy
        self._arrivals = arrivals
        self._agenda: list[tuple[float, int, e.Event]] = []
        self._order = 0
        self._waits: dict[int, float] = {}
        self._loads = 0
        self._refused = 0

    def run(self) -> DayResult:
        for ticket, arrival in enumerate(self._arrivals):
            self._at(arrival.at, e.Request(ticket, arrival.model, arrival.priority))
        while self._agenda:
            now, _, event = heapq.heappop(self._agenda)
            self._tell(event, now)
            due = self._policy.due(now)
            if due is not None and self._agenda and due < self._agenda[0][0]:
                self._at(due, e.Tick())
        kinds = {Priority.INTERACTIVE: [], Priority.BATCH: []}  # type: dict[Priority, list[float]]
        for ticket, waited in self._waits.items():
            kinds[self._arrivals[ticket].priority].append(waited)
        return DayResult(tuple(kinds[Priority.INTERACTIVE]), tuple(kinds[Priority.BATCH]), self._loads, self._refused)

    def _at(self, when: float, event: e.Event) -> None:
        self._order += 1
        heapq.heappush(self._agenda, (when, self._order, event))

    def _tell(self, event: e.Event, now: float) -> None:
        for effect in self._policy.handle(event, now):
            match effect:
                case e.Start(model, generation):
                    self._loads += 1
                    self._at(now + LOAD_SECONDS[model], e.Loaded(model, generation))
                case e.Stop(model, generation):
                    self._at(now + STOP_SECONDS, e.Gone(model, generation))
                case e.Grant(ticket, model):
                    arrival = self._arrivals[ticket]
                    self._waits[ticket] = now - arrival.at
                    self._at(now + arrival.service_seconds, e.Finished(ticket))
                case e.Probe(model, generation):
                    self._at(now + 0.2, e.Probed(model, generation, True, now))
                case e.Refuse():
                    self._refused += 1
                case _:
                    pass


def figures(results: list[DayResult]) -> dict[str, Any]:
    """Means over the days, and the worst day by mean waiting."""
    means = [statistics.fmean(r.interactive) for r in results]
    p95 = [statistics.quantiles(r.interactive, n=20)[-1] for r in results]
    worst = max(range(len(results)), key=lambda i: means[i])
    return {
        "mean_wait_seconds": round(statistics.fmean(means), 3),
        "p95_wait_seconds": round(statistics.fmean(p95), 3),
        "longest_wait_seconds": round(max(max(r.interactive) for r in results), 1),
        "batch_mean_wait_seconds": round(statistics.fmean(w for r in results for w in r.batch), 2),
        "loads_a_day": round(statistics.fmean(r.loads for r in results), 1),
        "worst_seed": {"seed": SEEDS[worst], "mean": round(means[worst], 3), "p95": round(p95[worst], 3)},
        "refused": sum(r.refused for r in results),
    }


def compare(seeds: int) -> dict[str, Any]:
    days = [day(seed) for seed in SEEDS[:seeds]]
    told = {name: figures([Day(make(), each).run() for each in days]) for name, make in POLICIES.items()}
    base = told["capibara6"]
    measures = ("mean_wait_seconds", "p95_wait_seconds", "loads_a_day")
    ratios = {
        f"{name}_over_capibara6": {m: round(told[name][m] / base[m], 2) for m in measures}
        for name in told if name != "capibara6"
    }  # fmt: skip
    return {"bench": "residency", "seeds": seeds, "requests": sum(map(len, days)), **told, "ratios": ratios}


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench residency", description=__doc__)
    parser.add_argument("--seeds", type=int, default=len(SEEDS), choices=range(1, len(SEEDS) + 1))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    report(compare(given.seeds), given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
