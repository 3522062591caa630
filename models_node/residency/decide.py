"""What should be loaded and what evicted: pure decisions over plain values.

No clock, no process, no waiting happens here; the pool asks after every change and acts on the plan. Memory is
counted in bytes against one budget, and an engine that is stopping still holds its memory until it is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class State(Enum):
    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Resident:
    """One local model as the pool sees it now.

    in_flight: requests in its engine. waiting: requests that want it and have no place yet. oldest_wait: order number
    of the first of those (smaller came earlier). last_used: any growing measure of time; 0 when never used.
    """

    model: str
    state: State
    memory_bytes: int
    in_flight: int = 0
    waiting: int = 0
    oldest_wait: int = 0
    last_used: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Models to start loading and models to evict, now."""

    load: tuple[str, ...] = ()
    evict: tuple[str, ...] = ()


class Admission(Enum):
    GRANT = "grant"
    QUEUE = "queue"
    QUEUE_FULL = "queue_full"
    OUT_OF_MEMORY = "out_of_memory"


def admit(resident: Resident, *, max_concurrent: int, queued: int, queue_limit: int, budget_bytes: int) -> Admission:
    """What to do with a new request for `resident`. `queued` counts every request that waits, for any model."""
    if resident.memory_bytes > budget_bytes:
        return Admission.OUT_OF_MEMORY
    if resident.state is State.READY and resident.in_flight < max_concurrent and resident.waiting == 0:
        return Admission.GRANT
    return Admission.QUEUE_FULL if queued >= queue_limit else Admission.QUEUE


def plan(residents: Sequence[Resident], budget_bytes: int) -> Plan:
    """Room for the waiting requests, oldest first.

    A cold model that is waited for is loaded when it fits. Otherwise the least recently used engines that are idle
    (ready, nothing in flight, nobody waiting) go, no more of them than needed, and only if that makes the room.
    Whoever cannot be placed holds the line: nothing that came later is loaded before it, or big models would starve.
    """
    held = sum(r.memory_bytes for r in residents if r.state is not State.COLD)
    leaving = sum(r.memory_bytes for r in residents if r.state is State.STOPPING)
    idle = sorted((r for r in residents if is_idle(r)), key=lambda r: (r.last_used, r.model))
    load: list[str] = []
    evict: list[str] = []
    wanted = (r for r in residents if r.waiting and r.state in (State.COLD, State.STOPPING))
    for want in sorted(wanted, key=lambda r: r.oldest_wait):
        if want.state is State.STOPPING:
            break  # its own old engine must be gone before a new one starts
        if held + want.memory_bytes <= budget_bytes:
            load.append(want.model)
            held += want.memory_bytes
            continue
        missing = held + want.memory_bytes - budget_bytes - leaving
        chosen = _cheapest(idle, missing)
        if chosen is not None:
            evict.extend(r.model for r in chosen)
        break  # the room is being made, or cannot be made yet: wait
    return Plan(tuple(load), tuple(evict))


def is_idle(resident: Resident) -> bool:
    return resident.state is State.READY and resident.in_flight == 0 and resident.waiting == 0


def expired(residents: Sequence[Resident], now: float, keep_alive_seconds: dict[str, float]) -> tuple[str, ...]:
    """Idle models that nobody used for their keep-alive time."""
    return tuple(r.model for r in residents if is_idle(r) and now - r.last_used >= keep_alive_seconds[r.model])


def _cheapest(idle: Sequence[Resident], missing: int) -> list[Resident] | None:
    """The first of `idle` that free `missing` bytes; none when memory on its way out is enough; None if impossible."""
    chosen: list[Resident] = []
    for resident in idle:
        if missing <= 0:
            break
        chosen.append(resident)
        missing -= resident.memory_bytes
    return chosen if missing <= 0 else None
