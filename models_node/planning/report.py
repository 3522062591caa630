"""A plan in words, or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from models_node.planning.needs import LEAST_ENGINE_BYTES, Need
from models_node.planning.room import FittingSet, Room, Swap

GIB = 2**30
HEADINGS = ("model", "weights", "KV cache", "engine", "estimate", "measured", "reserves", "on disk")


@dataclass(frozen=True, slots=True)
class Planned:
    """All that is told. remote: models of other machines. sleep_budget_bytes: None where engines do not sleep."""

    source: str
    profile: str
    needs: Sequence[Need]
    room: Room
    measured: Mapping[str, int]
    remote: Sequence[str] = ()
    sleep_budget_bytes: int | None = None


def as_json(planned: Planned) -> dict[str, Any]:
    """Sizes are bytes."""
    room = planned.room
    return {
        "catalogue": planned.source,
        "profile": planned.profile,
        "budget_bytes": room.budget_bytes,
        "usable_bytes": room.usable_bytes,
        "needed_bytes": room.needed_bytes,
        "all_fit": room.all_fit,
        "models": [
            {
                **asdict(need),
                "engine_bytes": need.engine_bytes,
                "measured_bytes": planned.measured.get(need.model),
                "reserved_bytes": room.needed[need.model],
                "estimate_doubtful": need.doubtful,
                "never": room.never.get(need.model),
            }
            for need in planned.needs
        ],
        "remote": list(planned.remote),
        "sets": [asdict(fitting) for fitting in room.sets],
        "more_sets": room.more_sets,
        "sleep": None
        if planned.sleep_budget_bytes is None
        else {"budget_bytes": planned.sleep_budget_bytes, "sets": [list(names) for names in room.parked]},
    }


def as_text(planned: Planned) -> str:
    """Lines for a terminal. Of weights that are not on disk the size is what the catalogue says."""
    room = planned.room
    parts = [f"{gib(room.budget_bytes)} for engines · {planned.source} · profile {planned.profile}"]
    if room.usable_bytes != room.budget_bytes:
        parts[0] += f" · {gib(room.budget_bytes - room.usable_bytes)} of it shared by all engines"
    parts += ["", *_table(planned), "", *_fit(room)]
    if planned.remote:
        parts += ["", f"On other machines, nothing of this memory: {', '.join(planned.remote)}"]
    if planned.sleep_budget_bytes is not None:
        parts += ["", *_sleep(planned.sleep_budget_bytes, room)]
    doubts = [need for need in planned.needs if need.doubtful]
    for need in doubts:
        left = f"{gib(need.engine_bytes or 0)} for the engine, which takes {gib(LEAST_ENGINE_BYTES)} at least"
        parts += ["", f"! {need.model}: its estimate is too small: beside weights and KV cache it leaves {left}"]
    for why in room.never.values():
        parts += ["", f"! can never be loaded: {why}"]
    return "\n".join(parts) + "\n"


def gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB"


def _table(planned: Planned) -> list[str]:
    rows = [HEADINGS, *(_row(need, planned) for need in planned.needs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _row(need: Need, planned: Planned) -> tuple[str, ...]:
    measured = planned.measured.get(need.model)
    return (
        f"{need.model}{' (pinned)' if need.pinned else ''}",
        "?" if need.weights_bytes is None else gib(need.weights_bytes),
        gib(need.kv_cache_bytes) if need.kv_cache_bytes else "vLLM's",
        "?" if need.engine_bytes is None else gib(need.engine_bytes),
        gib(need.estimate_bytes),
        "-" if measured is None else gib(measured),
        gib(planned.room.needed[need.model]),
        "yes" if need.on_disk else "no",
    )


def _fit(room: Room) -> list[str]:
    if not room.needed:
        return ["No model of this catalogue runs here."]
    if room.all_fit:
        left = room.usable_bytes - room.needed_bytes
        return [f"All fit at once: {gib(room.needed_bytes)}, {gib(left)} are left."]
    lines = [
        f"All together need {gib(room.needed_bytes)}: they do not fit at once.",
        "The largest sets that do, and who goes when another is asked for, all being idle and used alike:",
    ]
    for fitting in room.sets:
        lines += ["", *_set(fitting)]
    if room.more_sets:
        lines += ["", f"… and more; these are the {len(room.sets)} with the largest models."]
    return lines


def _set(fitting: FittingSet) -> list[str]:
    lines = [f"  {gib(fitting.needed_bytes)} ({gib(fitting.left_bytes)} left): {' + '.join(fitting.models)}"]
    by_victims: dict[tuple[str, ...], list[Swap]] = {}
    for swap in fitting.swaps:
        by_victims.setdefault(swap.evicts, []).append(swap)
    for evicts, swaps in by_victims.items():
        wanted = " or ".join(swap.model for swap in swaps)
        if evicts:
            lines.append(f"    for {wanted}: {' + '.join(evicts)}, which frees {gib(swaps[0].frees_bytes)}")
        else:
            lines.append(f"    for {wanted}: nobody; the pinned models leave no room")
    return lines


def _sleep(budget_bytes: int, room: Room) -> list[str]:
    if not budget_bytes:
        return [
            "Evicted engines sleep at level 2 (weights dropped): the catalogue has no `sleep_budget` of main memory."
        ]
    if not room.parked:
        return [f"Evicted engines sleep at level 2: none fits the sleep budget of {gib(budget_bytes)} of main memory."]
    return [
        f"Evicted engines sleep at level 1 (weights in main memory) up to {gib(budget_bytes)}, beyond at level 2:",
        *(f"  at level 1 together: {' + '.join(names)}" for names in room.parked),
    ]
