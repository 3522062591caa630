"""Memory of the node's budget that others than engines hold: who holds it until when, and whose growth waits for room.

A holder is a service that shares the node's memory with the models (the sandboxes). It says how much it holds, again
and again; one that falls silent has left. It cannot be evicted, so it gets more only where there is room, or where idle
models make room: its growth stands in line with the requests that wait for a load (`decide.plan`). What it has taken
already is told, not asked for: that is charged at once, beyond the budget if need be.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from models_node.errors import holder_left, no_room_for_holder, server_stopping, too_many_holders
from models_node.residency import events as e
from models_node.residency.decide import Resident, State
from models_node.residency.ledger import Ledger
from models_node.residency.limits import ResidencyLimits
from wire.errors import ApiError


@dataclass(frozen=True, slots=True)
class Growth:
    """One that waits for room. Of each holder the first to come is the first to be granted."""

    asked: e.Hold
    since: float

    @property
    def name(self) -> str:
        """Its name in a plan; no model's id has a space."""
        return f"holder {self.asked.holder}"


class Holders:
    """The bytes stand in the ledger; here, when each was last heard of and what waits. Owned by the core."""

    def __init__(self, ledger: Ledger, limits: ResidencyLimits) -> None:
        self._ledger = ledger
        self._limits = limits
        self._until: dict[str, float] = {}
        self._growing: list[Growth] = []  # as they came

    @property
    def growing(self) -> bool:
        return bool(self._growing)

    def until(self) -> dict[str, float]:
        """When each holder counts as gone unless it is heard of again."""
        return dict(self._until)

    def due(self) -> list[float]:
        """When something here ends by itself."""
        return [*self._until.values(), *(growth.since + self._limits.hold_wait_seconds for growth in self._growing)]

    def hold(self, asked: e.Hold, now: float, *, pinned_bytes: int) -> list[e.Effect]:
        """Grants what needs no room, and refuses what can never be had; the rest waits for `grant`.

        pinned_bytes: what models hold that never leave.
        """
        ledger, holder = self._ledger, asked.holder
        names = {*self._until, *(growth.asked.holder for growth in self._growing)}
        if holder not in names and len(names) >= self._limits.holders_limit:
            return [e.HoldRefused(asked.asker, too_many_holders(self._limits.holders_limit))]
        if holder in self._until:
            self._until[holder] = now + asked.ttl_seconds  # it lives, whatever becomes of its growth
        if asked.in_use or asked.bytes_ <= ledger.held_by(holder):
            return [self._charge(asked, now)]
        if asked.bytes_ > ledger.usable_bytes - pinned_bytes or len(self._growing) >= self._limits.queue_limit:
            return [self._refused(asked)]
        self._growing.append(Growth(asked, now))
        return []

    def release(self, holder: str) -> list[e.Effect]:
        """It left, and what of it still waited is told so."""
        self._until.pop(holder, None)
        self._ledger.let_go(holder)
        return self._refuse([growth for growth in self._growing if growth.asked.holder == holder], holder_left(holder))

    def abandon(self, asker: int) -> None:
        """Whoever asked for the growth does not wait for it any more."""
        self._growing = [growth for growth in self._growing if growth.asked.asker != asker]

    def close(self) -> list[e.Effect]:
        return self._refuse(list(self._growing), server_stopping())

    def pass_time(self, now: float) -> list[e.Effect]:
        """Holders that fell silent lose what they held; growth that has waited too long is refused. One that needs
        nothing more, as that memory was taken meanwhile, is granted.
        """
        effects: list[e.Effect] = []
        for holder in [holder for holder, until in self._until.items() if now >= until]:
            effects.append(e.HolderSilent(holder, self._ledger.held_by(holder)))
            effects += self.release(holder)
        for growth in [growth for growth in self._growing if not self._more(growth)]:
            effects.append(self._grow(growth, now))
        late = [g for g in self._growing if now >= g.since + self._limits.hold_wait_seconds]
        for growth in late:
            self._growing.remove(growth)
            effects.append(self._refused(growth.asked))
        return effects

    def wanted(self) -> list[Resident]:
        """The first growth of each holder, as something that waits to be started: so it has its place in the line."""
        first: dict[str, Growth] = {}
        for growth in self._growing:
            first.setdefault(growth.name, growth)
        return [
            Resident(name, State.COLD, 0, self._more(growth), waiting_since=growth.since)
            for name, growth in first.items()
        ]

    def grant(self, started: Collection[str], now: float) -> list[e.Effect]:
        """started: names of `wanted` for which there is room."""
        effects: list[e.Effect] = []
        granted: set[str] = set()
        for growth in tuple(self._growing):
            if growth.name in started and growth.name not in granted:
                granted.add(growth.name)
                effects.append(self._grow(growth, now))
        return effects

    def _grow(self, growth: Growth, now: float) -> e.Held:
        self._growing.remove(growth)
        asked = growth.asked
        return self._charge(asked, now, at_least=self._ledger.held_by(asked.holder))

    def _more(self, growth: Growth) -> int:
        return max(0, growth.asked.bytes_ - self._ledger.held_by(growth.asked.holder))

    def _charge(self, asked: e.Hold, now: float, at_least: int = 0) -> e.Held:
        """at_least: what it holds by now; a growth that waited is no reason to take anything from it."""
        self._ledger.hold(asked.holder, max(asked.bytes_, at_least))
        self._until[asked.holder] = now + asked.ttl_seconds
        return e.Held(asked.asker, self._ledger.free_bytes)

    def _refused(self, asked: e.Hold) -> e.HoldRefused:
        more = asked.bytes_ - self._ledger.held_by(asked.holder)
        return e.HoldRefused(asked.asker, no_room_for_holder(asked.holder, more, self._ledger.free_bytes))

    def _refuse(self, growing: list[Growth], error: ApiError) -> list[e.Effect]:
        self._growing = [growth for growth in self._growing if growth not in growing]
        return [e.HoldRefused(growth.asked.asker, error) for growth in growing]
