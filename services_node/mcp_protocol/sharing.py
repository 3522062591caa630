"""Who gives way when sessions or streams run out: first who asks, and nobody holds more than half of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


def share_of(most: int) -> int:
    """What one principal may hold of `most`."""
    return max(1, most // 2)


@dataclass(frozen=True, slots=True)
class Held:
    """A session. free: it answers nothing now. idle_until: when it ends by itself; None while its stream is open."""

    name: str
    owner: str
    free: bool
    idle_until: float | None = None


def gives_way(sessions: Sequence[Held], asking: str, most: int) -> str | None:
    """The session to end for a new one of `asking`; None: there is room, or none can be made.

    sessions: in the order in which they were opened. Its own that has waited for longest with nothing asked; then, if
    it holds less than its share, one of whoever holds most. Those whose stream is open come after those that wait.
    """
    held = Counter(one.owner for one in sessions)
    full = held[asking] >= share_of(most)
    if not full and len(sessions) < most:
        return None
    free = [one for one in sessions if one.free and (one.owner == asking or not full)]
    if not free:
        return None

    def first(one: Held) -> tuple[bool, int, bool, float]:
        return one.owner != asking, -held[one.owner], one.idle_until is None, one.idle_until or 0.0

    return min(free, key=first).name
