"""What the callbacks' benchmark makes of its deliveries. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True, slots=True)
class Came:
    """A delivery. verified: whether it was signed by who we think."""

    event_id: str
    run_id: str
    verified: bool
    at: float


def judged(came: Sequence[Came], wanted: Sequence[str]) -> dict[str, Any]:
    """wanted: runs in the order in which they ended."""
    place = {run_id: index for index, run_id in enumerate(wanted)}
    firsts = list(dict.fromkeys(one.run_id for one in came))
    ids = {(one.run_id, one.event_id) for one in came}
    return {
        "events": len(wanted),
        "deliveries": len(came),
        "lost": len(set(wanted) - set(firsts)),
        "out_of_order": sum(place[after] < place[before] for before, after in pairwise(firsts)),
        "told_again": len(came) - len(firsts),
        "told_again_with_another_id": len(ids) - len(firsts),
        "not_verified": sum(not one.verified for one in came),
    }
