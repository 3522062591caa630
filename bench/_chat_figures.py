"""What the chat benchmark makes of its measurements. Pure; times come in seconds and go out in milliseconds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench._streams import milliseconds

Rounds = Mapping[str, Sequence[Sequence[float]]]  # by contestant: one list of seconds a round


def added(rounds: Rounds, base: str) -> dict[str, Any]:
    """Each contestant over all rounds; of those that are not the base, what they add to it. rounds_added_median_ms:
    the same for each round by itself, as a round may have had company.
    """
    told: dict[str, Any] = {name: milliseconds(_all(found)) for name, found in rounds.items()}
    for name, found in rounds.items():
        told[name]["n"] = len(_all(found))
        if name == base:
            continue
        for figure in ("median_ms", "p90_ms"):
            told[name][f"added_{figure}"] = round(told[name][figure] - told[base][figure], 2)
        told[name]["rounds_added_median_ms"] = [
            round(1000 * (statistics.median(ours) - statistics.median(theirs)), 2)
            for ours, theirs in zip(found, rounds[base], strict=True)
        ]
    return told


def _all(rounds: Sequence[Sequence[float]]) -> list[float]:
    return [seconds for found in rounds for seconds in found]


def without(whole: Sequence[float], own: Sequence[float]) -> dict[str, float]:
    """A round trip's time without what the thing at its end takes by itself (its median)."""
    taken = statistics.median(own)
    return {**milliseconds([seconds - taken for seconds in whole]), "n": len(whole)}


def met(value: float, aim: float) -> dict[str, Any]:
    return {"aim_ms": aim, "met": value <= aim}


def lag(kept: int, recorded: int) -> float:
    """The share of turns in our rows that Prefect does not show ended yet."""
    return round(1 - recorded / kept, 3) if kept else 0.0


def parts_of_first_token(stored: Sequence[Mapping[str, float | None]], client: Sequence[float]) -> dict[str, float]:
    """Where the time to the first token went, by the runs' own notes (medians, milliseconds).

    stored: of each run `first_token_ms` (since the turn began), `planned_ms` (until its model was called: route and
    tools) and `model_ms` (from that call to its first token). client: seconds from sending to the first token.
    """
    known = [run for run in stored if None not in run.values()]
    if not known:
        return {}
    told = {name: statistics.median(float(run[name] or 0) for run in known) for name in known[0]}
    whole = statistics.median(client) * 1000
    return {
        "route_and_tools": round(told["planned_ms"], 2),
        "model_call": round(told["model_ms"], 2),
        "request_and_events": round(whole - told["first_token_ms"], 2),
        "rest": round(told["first_token_ms"] - told["planned_ms"] - told["model_ms"], 2),
    }
