"""Whom to load, whom to let go, whom to let in: pure decisions over plain values.

No clock, no process, no waiting happens here; `core` asks after every event and acts on the answer. Memory is counted
in bytes against one budget (see `ledger`); a model that is leaving holds its memory until it is seen to be gone.
Times are seconds of any clock that only grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations

EXACT_CANDIDATES = 8  # of so many every combination is looked at; beyond, the least valuable go in order


class State(Enum):
    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    SLEEPING = "sleeping"  # on its way to sleep: its memory is on its way out
    ASLEEP = "asleep"
    WAKING = "waking"
    STOPPING = "stopping"


LEAVING = frozenset({State.SLEEPING, State.STOPPING})
ARRIVING = frozenset({State.LOADING, State.WAKING})
STARTABLE = frozenset({State.COLD, State.ASLEEP})


class Priority(Enum):
    """interactive: a person waits for it. batch: it may wait while people chat."""

    INTERACTIVE = "interactive"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Resident:
    """One local model as it stands now.

    charged_bytes: what the ledger holds for it. needed_bytes: what loading or waking it would reserve beyond that.
    waiting_since: rank of the first request that has no place yet, None when nobody waits. value: see `value`.
    residence_seconds: how long it stays at least. turn_seconds: how long it works at least before it is drained for
    another. held_back: it is not to be started now (its breaker is open, or it
    cannot be ended). stuck: it was stopped, but its memory does not come back.
    """

    model: str
    state: State
    charged_bytes: int
    needed_bytes: int
    in_flight: int = 0
    waiting_since: float | None = None
    loaded_at: float = 0.0
    last_used: float = 0.0
    value: float = 0.0
    residence_seconds: float = 0.0
    turn_seconds: float = 0.0
    pinned: bool = False
    draining: bool = False
    held_back: bool = False
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Models to start (load or wake), to evict now, and to grant nothing further until they are idle."""

    start: tuple[str, ...] = ()
    evict: tuple[str, ...] = ()
    drain: tuple[str, ...] = ()


def plan(residents: Sequence[Resident], free_bytes: int, now: float, patience_seconds: float) -> Plan:
    """Room for the requests that wait, in the order of their ranks.

    What fits is started. Else idle models go, the least valuable first, no more of them than needed, and only if that
    makes the room. While all the others work, the one that waits is patient: they go on being granted requests (a
    swap is dear), and a later model that fits into free memory may pass. After its patience it holds the line: models
    at work are drained for it, and nobody passes any more, so nobody starves.
    """
    leaving = sum(r.charged_bytes for r in residents if r.state in LEAVING and not r.stuck)
    start: list[str] = []
    if free_bytes < 0:  # something grew beyond what was reserved for it: back within the budget first
        return _back_within_budget(residents, -free_bytes - leaving, now, patience_seconds)
    wanted = [r for r in residents if r.waiting_since is not None and not r.held_back]
    passing = False
    for want in sorted(wanted, key=lambda r: r.waiting_since or 0.0):
        if want.state in LEAVING:
            break  # its memory comes back to itself
        if want.state not in STARTABLE:
            continue
        if want.needed_bytes <= free_bytes:
            start.append(want.model)
            free_bytes -= want.needed_bytes
            continue
        if passing:
            continue
        missing = want.needed_bytes - free_bytes - leaving
        if missing <= 0:
            break
        others = [r for r in residents if r.model != want.model and r.model not in start]
        idle = [r for r in others if evictable(r, now)]
        chosen = _cheapest(idle, missing)
        if chosen is not None:
            return Plan(tuple(start), _names(chosen))
        if now >= (want.waiting_since or 0.0) + patience_seconds:
            chosen = _cheapest([*idle, *(r for r in others if drainable(r, now))], missing)
            if chosen is not None:
                at_work = [r for r in chosen if r.in_flight]
                return Plan(tuple(start), _names([r for r in chosen if not r.in_flight]), _names(at_work))
            if missing <= sum(r.charged_bytes for r in others if not (r.pinned or r.stuck or r.state in LEAVING)):
                break  # what is on its way in, or has just come, can be drained in a moment
        passing = True
    return Plan(tuple(start))


def _back_within_budget(residents: Sequence[Resident], missing: int, now: float, patience_seconds: float) -> Plan:
    """Idle ones go, all of them if that is not enough: every byte beyond the budget may be one the machine does not
    have. Those at work are drained only once somebody has waited too long."""
    idle = [r for r in residents if evictable(r, now)]
    chosen = _cheapest(idle, missing)
    waited = [r.waiting_since for r in residents if r.state in STARTABLE and not r.held_back and r.waiting_since]
    if chosen is None and waited and now >= min(waited) + patience_seconds:
        chosen = _cheapest([*idle, *(r for r in residents if drainable(r, now))], missing)
    chosen = idle if chosen is None else chosen
    return Plan((), _names([r for r in chosen if not r.in_flight]), _names([r for r in chosen if r.in_flight]))


def evictable(resident: Resident, now: float) -> bool:
    """Idle, not pinned, and here for its least time; a sleeping one may always go."""
    if resident.state is State.ASLEEP:
        return not resident.pinned and resident.waiting_since is None
    if resident.state is not State.READY or resident.in_flight or resident.pinned:
        return False
    if resident.waiting_since is not None and not resident.draining:
        return False  # it is about to work
    return now >= resident.loaded_at + resident.residence_seconds


def drainable(resident: Resident, now: float) -> bool:
    """At work, or asleep and wanted again: to be let go for one that has waited too long."""
    if resident.state is State.ASLEEP:
        return not resident.pinned and not evictable(resident, now)
    return (
        resident.state is State.READY
        and not resident.pinned
        and not evictable(resident, now)
        and now >= resident.loaded_at + max(resident.residence_seconds, resident.turn_seconds)
    )


def expired(residents: Sequence[Resident], now: float, keep_alive_seconds: dict[str, float]) -> tuple[str, ...]:
    """Models that nobody used for their keep-alive time, counted from the end of the last request."""
    idle = (r for r in residents if r.state in (State.READY, State.ASLEEP) and not r.in_flight and not r.pinned)
    return tuple(r.model for r in idle if r.waiting_since is None and now >= r.last_used + keep_alive_seconds[r.model])


def value(use: float, reload_seconds: float, priority: int) -> float:
    """What keeping a model saves: the seconds of loading that its recent use would cost again.

    use: requests lately, each counting half after the half-life. A model's priority weighs its use.
    """
    return use * (1 + priority) * reload_seconds


def finish_unwanted_load(elapsed_seconds: float, expected_seconds: float | None) -> bool:
    """Whether a load that nobody waits for any more is finished all the same: once half of it is done, as the next
    request is likely to want it; a load that was never measured is given up."""
    return expected_seconds is not None and elapsed_seconds >= expected_seconds / 2


def _cheapest(candidates: Sequence[Resident], missing: int) -> list[Resident] | None:
    """Those whose going costs least among all choices that free `missing` bytes, the ones used longest ago where costs
    are equal; none when nothing is missing; None if impossible. What drains already is taken first, for a change of
    mind would waste it.
    """
    if missing <= 0:
        return []
    order = sorted(candidates, key=lambda r: (not r.draining, r.value, r.last_used, r.model))
    if sum(r.charged_bytes for r in order) < missing:
        return None
    few = order[:EXACT_CANDIDATES]
    while sum(r.charged_bytes for r in few) < missing:
        few = order[: len(few) + 1]
    if len(few) > EXACT_CANDIDATES:
        return few
    choices = (list(chosen) for size in range(1, len(few) + 1) for chosen in combinations(few, size))
    return min((chosen for chosen in choices if sum(r.charged_bytes for r in chosen) >= missing), key=_cost)


def _cost(chosen: Sequence[Resident]) -> tuple[int, float, int, float]:
    drains = sum(r.draining for r in chosen)
    return (-drains, sum(r.value for r in chosen), len(chosen), max(r.last_used for r in chosen))


def _names(residents: Sequence[Resident]) -> tuple[str, ...]:
    return tuple(r.model for r in residents)
