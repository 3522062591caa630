"""What the callbacks' benchmark makes of its deliveries. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True, slots=True)
class Came:
    """A delivery. path: whose. verified: whether it was signed by who we think."""

    path: str
    event_id: str
    run_id: str
    verified: bool
    at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A run, and at which path its end is wanted."""

    path: str
    run_id: str


def judged(came: Sequence[Came], wanted: Sequence[Ended]) -> dict[str, Any]:
    """wanted: in the order in which they ended. Each path is one that is told, with an order of its own."""
    place = {one: index for index, one in enumerate(wanted)}
    firsts = list(dict.fromkeys(Ended(one.path, one.run_id) for one in came))
    ids = {(one.path, one.run_id, one.event_id) for one in came}
    orders = [[place[one] for one in firsts if one.path == path] for path in {one.path for one in wanted}]
    return {
        "events": len(wanted),
        "deliveries": len(came),
        "lost": len(set(wanted) - set(firsts)),
        "out_of_order": sum(after < before for order in orders for before, after in pairwise(order)),
        "told_again": len(came) - len(firsts),
        "told_again_with_another_id": len(ids) - len(firsts),
        "not_verified": sum(not one.verified for one in came),
    }
