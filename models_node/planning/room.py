"""Which models fit in the budget together, by the same rules that residency applies when they are asked for.

Pure: catalogue entries and bytes in, a `Room` out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from models_node.catalogue import ModelEntry
from models_node.residency.admission import refusal
from models_node.residency.decide import Resident, State, plan, value
from models_node.residency.ledger import Ledger
from models_node.residency.limits import ResidencyLimits
from models_node.residency.slots import UNMEASURED_LOAD_SECONDS, Slot, needed_bytes

MOST_SETS = 64  # told at most; a catalogue of many equal models has more of them than anyone reads


@dataclass(frozen=True, slots=True)
class Swap:
    """What asking for `model` does while a set is loaded and idle, all of it used alike: who goes, and what that
    frees. Nobody goes (`evicts` is empty) where the pinned models leave no room."""

    model: str
    evicts: tuple[str, ...]
    frees_bytes: int


@dataclass(frozen=True, slots=True)
class FittingSet:
    """Models that fit at once, and to which no other could be added. Largest first."""

    models: tuple[str, ...]
    needed_bytes: int
    left_bytes: int
    swaps: tuple[Swap, ...]


@dataclass(frozen=True, slots=True)
class Room:
    """needed: bytes that each local model's load reserves. usable_bytes: the budget less what all engines share.

    never: models that can never be loaded, and why. sets: every maximal set, at most `MOST_SETS` (`more_sets` says
    whether there are others). parked: as `sets`, of the models whose weights fit the sleep budget together.
    """

    budget_bytes: int
    usable_bytes: int
    needed: dict[str, int]
    never: dict[str, str]
    all_fit: bool
    sets: tuple[FittingSet, ...]
    more_sets: bool
    parked: tuple[tuple[str, ...], ...]

    @property
    def needed_bytes(self) -> int:
        """Of all local models together."""
        return sum(self.needed.values())


def room(
    entries: Sequence[ModelEntry],
    budget_bytes: int,
    *,
    measured: Mapping[str, int] | None = None,
    shared_bytes: int = 0,
    sleep_budget_bytes: int = 0,
) -> Room:
    """measured: bytes each model was last seen to hold, where that is known. shared_bytes: what the process that
    engines are forked from holds for all of them. sleep_budget_bytes: main memory for sleeping CUDA engines."""
    local = [entry for entry in entries if not entry.remote]
    ledger = Ledger(budget_bytes, {entry.id: entry.memory_bytes for entry in local})
    ledger.shared_bytes = shared_bytes
    for entry in local:
        if held := (measured or {}).get(entry.id):
            ledger.reserve(entry.id, held)
            ledger.correct(entry.id, held)
            ledger.release(entry.id)
    needed = {entry.id: needed_bytes(Slot(entry), ledger) for entry in local}
    staying = [entry for entry in local if entry.pinned]
    never = _refusals(staying, staying, needed, ledger)
    staying = [entry for entry in staying if entry.id not in never]
    never |= _refusals([entry for entry in local if not entry.pinned], staying, needed, ledger)
    possible = {entry.id: needed[entry.id] for entry in local if entry.id not in never}
    pinned = {entry.id for entry in staying}
    usable = ledger.usable_bytes
    found = list(islice(maximal_sets(possible, usable, pinned), MOST_SETS + 1))
    by_id = {entry.id: entry for entry in local}
    sets = [_fitting(models, possible, by_id, usable) for models in found[:MOST_SETS]]
    parked = islice(maximal_sets(needed, sleep_budget_bytes, set()), MOST_SETS) if sleep_budget_bytes else ()
    return Room(
        budget_bytes,
        usable,
        needed,
        never,
        sum(needed.values()) <= usable and not never,
        tuple(sorted(sets, key=lambda s: (-s.needed_bytes, s.models))),
        len(found) > MOST_SETS,
        tuple(parked),
    )


def maximal_sets(sizes: Mapping[str, int], room_bytes: int, always: set[str]) -> Iterator[tuple[str, ...]]:
    """Every set of models that fits and to which no other can be added, those of the largest models first.

    always: models that each set holds; they fit together. Names in a set keep the order of `sizes`.
    """
    order = list(sizes)
    free = room_bytes - sum(sizes[model] for model in always)
    rest = sorted((model for model in order if model not in always), key=lambda model: -sizes[model])
    after = [sum(sizes[model] for model in rest[index:]) for index in range(len(rest) + 1)]

    def extend(index: int, chosen: list[str], free: int, left_out: int | None) -> Iterator[list[str]]:
        """left_out: size of the smallest model not chosen so far."""
        if left_out is not None and free - after[index] >= left_out:
            return  # even with all of the rest there is room for one that was left out
        if index == len(rest):
            yield chosen
            return
        size = sizes[rest[index]]
        if size <= free:
            yield from extend(index + 1, [*chosen, rest[index]], free - size, left_out)
        yield from extend(index + 1, chosen, free, size if left_out is None else min(left_out, size))

    for chosen in extend(0, [*always], free, None):
        if chosen:
            yield tuple(sorted(chosen, key=order.index))


def _refusals(
    entries: Sequence[ModelEntry], staying: Sequence[ModelEntry], needed: Mapping[str, int], ledger: Ledger
) -> dict[str, str]:
    """Those that admission would turn away whenever they are asked for, and its words. staying: pinned models that
    will be loaded one day, and then stay."""
    limits = ResidencyLimits(ledger.budget_bytes)
    refused = {}
    for entry in entries:
        pinned = sum(needed[other.id] for other in staying if other.id != entry.id)
        error = refusal(Slot(entry), ledger, limits, waiting=0, pinned_bytes=pinned, batch=False)
        if error:
            refused[entry.id] = error.detail
    return refused


def _fitting(
    models: tuple[str, ...], possible: Mapping[str, int], entries: Mapping[str, ModelEntry], usable: int
) -> FittingSet:
    needed = sum(possible[model] for model in models)
    residents = [_idle(entries[model], possible[model]) for model in models]
    swaps = []
    for wanted in possible:
        if wanted in models:
            continue
        want = Resident(wanted, State.COLD, 0, possible[wanted], waiting_since=0.0)
        evicts = plan([*residents, want], usable - needed, now=0.0, patience_seconds=0.0).evict
        swaps.append(Swap(wanted, evicts, sum(possible[model] for model in evicts)))
    return FittingSet(models, needed, usable - needed, tuple(swaps))


def _idle(entry: ModelEntry, charged_bytes: int) -> Resident:
    """It is loaded, and was used once, like all the others."""
    worth = value(1.0, UNMEASURED_LOAD_SECONDS, entry.priority)
    return Resident(entry.id, State.READY, charged_bytes, 0, value=worth, pinned=entry.pinned)
