"""What the core keeps of each model and of each request that waits or works."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field

from models_node.catalogue import ModelEntry
from models_node.residency.breaker import Breaker
from models_node.residency.decide import LEAVING, STARTABLE, Priority, Resident, State, value
from models_node.residency.ledger import Ledger
from models_node.residency.limits import ResidencyLimits

USE_HALF_LIFE_SECONDS = 300.0
BATCH_USE = 0.25  # what a batch request counts as use, beside an interactive one
UNMEASURED_LOAD_SECONDS = 30.0  # what a load is thought to take before the first one was seen
LEAST_LOAD_SECONDS = 1.0  # differences below this are noise, and no reason to prefer one model to another
SMOOTHING = 0.3  # weight of the newest measurement in a running mean
# A model works for so many times its own load before it is drained for another, so that two that both have work for
# hours spend no more than a third of them loading.
TURN_LOADS = 2.0


@dataclass(frozen=True, slots=True, order=True)
class Ticket:
    """One request. rank: its place in the order of waiting, the time it came plus what its priority costs it."""

    rank: float
    number: int
    model: str = field(compare=False)
    priority: Priority = field(compare=False)
    enqueued: float = field(compare=False)

    @property
    def batch(self) -> bool:
        return self.priority is Priority.BATCH


@dataclass(slots=True)
class Slot:
    """One model. Times of 0 mean never."""

    entry: ModelEntry
    state: State = State.COLD
    generation: int = 0
    waiting: list[Ticket] = field(default_factory=list)  # by rank
    in_flight: dict[int, tuple[Ticket, float]] = field(default_factory=dict)  # with the time of the grant
    askers: list[int] = field(default_factory=list)
    retiring: bool = False  # an operator asked for its end: it works off what is in flight
    draining: bool = False  # another model needs its memory: the same, decided anew after every event
    can_sleep: bool = False
    parked_bytes: int = 0  # main memory its sleeping weights hold
    restart: bool = False  # to be loaded again although nobody waits: it was wedged
    wedged_at: float = 0.0
    wedged: bool = False
    stuck: str | None = None  # why its memory is not free although it was stopped
    verified: bool = False  # the present engine has produced output
    probing: bool = False
    breaker: Breaker = field(default_factory=Breaker)
    use: float = 0.0
    used_at: float = 0.0
    last_used: float = 0.0
    last_granted: float = 0.0
    last_heard: float = 0.0
    load_started: float = 0.0
    load_ended: float = 0.0
    measured_at: float = 0.0
    service_seconds: float | None = None  # running mean
    load_seconds: float | None = None  # running mean
    wake_seconds: float | None = None
    last_load_seconds: float | None = None
    requests: int = 0
    loads: int = 0
    wakes: int = 0
    evictions: int = 0
    last_error: str | None = None
    load_failure: str | None = None  # of the last load, until one goes well

    @property
    def idle(self) -> bool:
        return not self.in_flight and not self.waiting

    @property
    def batch_in_flight(self) -> int:
        return sum(ticket.batch for ticket, _ in self.in_flight.values())

    @property
    def people_wait(self) -> bool:
        """Whether somebody interactive works or waits here now."""
        return any(not t.batch for t in self.waiting) or any(not t.batch for t, _ in self.in_flight.values())

    @property
    def reload_seconds(self) -> float:
        """What having it back would take, as far as was measured."""
        measured = self.load_seconds
        if self.can_sleep and self.wake_seconds is not None:
            measured = self.wake_seconds
        return max(LEAST_LOAD_SECONDS, UNMEASURED_LOAD_SECONDS if measured is None else measured)

    @property
    def arrival_seconds(self) -> float | None:
        """What the load or wake that is due or under way took before; None when that was never seen."""
        waking = self.state in (State.WAKING, State.ASLEEP)
        return self.wake_seconds if waking else self.load_seconds

    def enqueue(self, ticket: Ticket) -> None:
        bisect.insort(self.waiting, ticket)

    def grantable(self) -> Iterator[Ticket]:
        """Those that may have a place now, in their order. Batch requests have few places while people chat."""
        if not self.waiting or self.state is not State.READY or self.draining or self.retiring:
            return
        places = self.entry.max_concurrent - len(self.in_flight)
        batch_places = self.entry.batch_places if self.people_wait else self.entry.max_concurrent
        batch_places -= self.batch_in_flight
        for ticket in tuple(self.waiting):
            if places <= 0:
                return
            if ticket.batch:
                if batch_places <= 0:
                    continue
                batch_places -= 1
            places -= 1
            yield ticket

    def used(self, now: float, priority: Priority) -> None:
        self.use = self.use_at(now) + (BATCH_USE if priority is Priority.BATCH else 1.0)
        self.used_at = self.last_used = now
        if self.last_heard > self.last_granted:  # silence counts from the first grant after the last output
            self.last_granted = now

    def use_at(self, now: float) -> float:
        return self.use * float(0.5 ** ((now - self.used_at) / USE_HALF_LIFE_SECONDS))

    def served(self, seconds: float) -> None:
        self.service_seconds = smoothed(self.service_seconds, seconds)

    def arrived(self, now: float) -> None:
        """Its load or wake has come to a good end."""
        seconds = now - self.load_started
        if self.state is State.WAKING:
            self.wake_seconds = smoothed(self.wake_seconds, seconds)
            self.wakes += 1
        else:
            self.load_seconds = smoothed(self.load_seconds, seconds)
            self.loads += 1
        self.last_load_seconds = seconds
        self.state = State.READY
        self.load_ended = self.last_used = self.last_heard = now
        self.last_error = self.load_failure = None
        self.restart = self.verified = self.probing = False

    def wait_seconds(self, now: float) -> float:
        """How long a request that came now would wait for its place, as far as can be told. A hint, not a promise."""
        if self.entry.remote or self.state is State.READY:
            ahead = len(self.waiting) + len(self.in_flight) - self.entry.max_concurrent + 1
            return max(0, ahead) * (self.service_seconds or 0.0) / self.entry.max_concurrent
        expected = self.arrival_seconds
        if expected is None:
            expected = UNMEASURED_LOAD_SECONDS
        if self.state in STARTABLE or self.state in LEAVING:
            return expected
        return max(0.0, expected - (now - self.load_started))


def needed_bytes(slot: Slot, ledger: Ledger) -> int:
    """What loading or waking it would reserve beyond what it holds; never more than there can be, where that is enough
    by the last measurement."""
    model = slot.entry.id
    wanted = ledger.expected(model)
    if (ledger.measured(model) or slot.entry.memory_bytes) <= ledger.usable_bytes:
        wanted = min(wanted, ledger.usable_bytes)
    return max(0, wanted - ledger.charged(model))


def residence_seconds(slot: Slot, limits: ResidencyLimits) -> float:
    """How long it stays at least."""
    return min(limits.min_residence_seconds, slot.last_load_seconds or 0.0)


def turn_seconds(slot: Slot, limits: ResidencyLimits) -> float:
    """How long it works at least before it is drained for another."""
    return max(limits.patience_seconds, TURN_LOADS * (slot.last_load_seconds or 0.0))


def resident(slot: Slot, ledger: Ledger, limits: ResidencyLimits, now: float) -> Resident:
    """The slot as decisions see it."""
    return Resident(
        model=slot.entry.id,
        state=slot.state,
        charged_bytes=ledger.charged(slot.entry.id),
        needed_bytes=needed_bytes(slot, ledger),
        in_flight=len(slot.in_flight),
        waiting_since=slot.waiting[0].rank if slot.waiting else (slot.wedged_at if slot.restart else None),
        loaded_at=slot.load_ended,
        last_used=slot.last_used,
        value=value(slot.use_at(now), slot.reload_seconds, slot.entry.priority),
        residence_seconds=residence_seconds(slot, limits),
        turn_seconds=turn_seconds(slot, limits),
        pinned=slot.entry.pinned,
        draining=slot.draining or slot.retiring,
        held_back=slot.breaker.open(now) or slot.stuck is not None,
        stuck=slot.stuck is not None,
    )


def smoothed(mean: float | None, newest: float) -> float:
    return newest if mean is None else mean + SMOOTHING * (newest - mean)
