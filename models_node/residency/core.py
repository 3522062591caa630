"""The core: the state of every model and every request, one event in, the effects out.

No clock, process or network here: whoever owns the core tells it what happened and when, and carries out what it
wants. What an event means for its model stands in `_on_…`; what has become possible or due is decided afterwards, in
one place, `_settle`, by the pure functions of `decide`. Nothing is ever decided on state that may be out of date.

Policies:
- A load that nobody waits for any more is finished when at least half of it is done, else given up.
- A model that crashed keeps those who wait for it, and is loaded again; one that fails to load fails them.
- A wedged engine (it took work, says nothing, and does not answer a probe) is stopped and loaded again at once.
- An engine that is not seen to be gone keeps its memory charged: the next load waits instead of overrunning.
"""

from __future__ import annotations

from collections.abc import Sequence

from models_node.catalogue import ModelEntry
from models_node.errors import (
    EngineFailed,
    EngineOutOfMemory,
    MissingWeights,
    engine_unavailable,
    load_failed,
    server_stopping,
)
from models_node.residency import events as e
from models_node.residency.admission import no_place, refusal
from models_node.residency.decide import (
    ARRIVING,
    Plan,
    Priority,
    State,
    expired,
    finish_unwanted_load,
    plan,
)
from models_node.residency.events import Event, Why
from models_node.residency.holders import Holders
from models_node.residency.ledger import Ledger
from models_node.residency.limits import ResidencyLimits
from models_node.residency.slots import Slot, Ticket, needed_bytes, residence_seconds, resident, turn_seconds
from wire.errors import ApiError

KEPT = (State.READY, State.ASLEEP)  # for a while, when nobody uses it


class Core:
    """`handle` is the only way in; `slots`, `ledger`, `holders` and `due` may be read between two events."""

    def __init__(self, entries: Sequence[ModelEntry], limits: ResidencyLimits) -> None:
        self.slots = {entry.id: Slot(entry, State.READY if entry.remote else State.COLD) for entry in entries}
        self.limits = limits
        self.ledger = Ledger(limits.budget_bytes, {entry.id: entry.memory_bytes for entry in entries})
        self.holders = Holders(self.ledger, limits)
        self._tickets: dict[int, Ticket] = {}
        self._effects: list[e.Effect] = []
        self._closed = False
        self._ending = False

    def handle(self, event: Event, now: float) -> list[e.Effect]:
        """What has to be done now, in this order. Events about engines that are no longer there mean nothing."""
        self._effects = []
        self._dispatch(event, now)
        self._settle(now)
        return self._effects

    @property
    def ended(self) -> bool:
        """After a shutdown: no engine is left, or could be ended."""
        return self._ending and all(
            slot.entry.remote or slot.state is State.COLD or slot.stuck is not None for slot in self.slots.values()
        )

    @property
    def waiting(self) -> int:
        return sum(len(slot.waiting) for slot in self.slots.values())

    def due(self, now: float) -> float | None:
        """When the core wants a `Tick` although nothing happens; None: never."""
        limits = self.limits
        times = self.holders.due()
        wanted = self.holders.growing or self.ledger.free_bytes < 0
        for slot in self.slots.values():
            if slot.waiting and slot.state not in ARRIVING:
                times += [self._deadline(slot, ticket) for ticket in slot.waiting]
                times.append(slot.waiting[0].rank + limits.patience_seconds)
                wanted = wanted or slot.state is not State.READY
            if slot.entry.remote:
                continue
            if slot.state is State.READY:
                times.append(slot.measured_at + limits.measure_seconds)
                if slot.in_flight and not slot.probing:
                    times.append(max(slot.last_heard, slot.last_granted) + limits.quiet_seconds)
            if slot.state in (State.READY, State.ASLEEP) and slot.idle and not slot.entry.pinned:
                times.append(slot.last_used + slot.entry.keep_alive_seconds)
        if wanted:
            for slot in self.slots.values():
                if slot.state is State.READY:
                    times += [
                        slot.load_ended + residence_seconds(slot, self.limits),
                        slot.load_ended + turn_seconds(slot, self.limits),
                    ]
        return min((time for time in times if time > now), default=None)

    # events

    def _dispatch(self, event: Event, now: float) -> None:
        match event:
            case e.Request():
                self._on_request(event, now)
            case e.Finished():
                self._on_finished(event, now)
            case e.Unload():
                self._on_unload(event)
            case e.Hold():
                self._on_hold(event, now)
            case e.HoldAbandoned(asker):
                self.holders.abandon(asker)
            case e.HolderLeft(holder):
                self._effects += self.holders.release(holder)
            case e.Tick(heard):
                for model, at in heard.items():
                    slot = self.slots[model]
                    if slot.state is State.READY and at > slot.last_heard:
                        slot.last_heard, slot.verified, slot.wedged = at, True, False
            case e.CloseDoor():
                self._close()
            case e.Shutdown():
                self._close()
                self._ending = True
                for slot in self.slots.values():
                    self._stop(slot, Why.SHUTDOWN)
            case _:
                slot = self.slots[event.model]
                if slot.generation == event.generation:
                    self._on_engine(slot, event, now)

    def _on_engine(self, slot: Slot, event: Event, now: float) -> None:
        model = slot.entry.id
        match event:
            case e.Loaded(can_sleep=can_sleep) if slot.state is State.LOADING:
                slot.can_sleep = can_sleep
                self._arrived(slot, now)
            case e.Woken() if slot.state is State.WAKING:
                slot.parked_bytes = 0
                self._arrived(slot, now)
            case e.Slept(left_bytes=left, parked_bytes=parked) if slot.state is State.SLEEPING:
                slot.state, slot.parked_bytes = State.ASLEEP, parked
                self.ledger.shrink(model, left)
            case e.Died(failure=failure) if slot.state not in (State.STOPPING, State.COLD):
                self._died(slot, failure, now)
            case e.Gone() if slot.state is not State.COLD:
                self._gone(slot)
            case e.Stuck(words=words) if slot.state is State.STOPPING:
                slot.stuck = slot.last_error = words
            case e.Measured(private_bytes=private, shared_bytes=shared) if slot.state is State.READY:
                self.ledger.correct(model, private)
                self.ledger.shared_bytes = shared
            case e.Probed() if slot.state is State.READY:
                self._probed(slot, event, now)

    def _on_request(self, event: e.Request, now: float) -> None:
        slot = self.slots[event.model]
        batch = event.priority is Priority.BATCH
        error: ApiError | None
        if self._closed:
            error = server_stopping()
        elif slot.breaker.open(now):
            error = engine_unavailable(event.model, slot.breaker.last_words or "", slot.breaker.open_until - now)
        else:
            pinned = self._pinned_bytes(slot)
            error = refusal(slot, self.ledger, self.limits, waiting=self.waiting, pinned_bytes=pinned, batch=batch)
        if error is not None:
            self._effects.append(e.Refuse(event.ticket, error))
            return
        rank = now + (self.limits.batch_ageing_seconds if batch else 0.0)
        ticket = Ticket(rank, event.ticket, event.model, event.priority, now)
        self._tickets[event.ticket] = ticket
        slot.enqueue(ticket)

    def _on_finished(self, event: e.Finished, now: float) -> None:
        ticket = self._tickets.pop(event.ticket, None)
        if ticket is None:
            return  # it was refused
        slot = self.slots[ticket.model]
        granted = slot.in_flight.pop(event.ticket, None)
        if granted is None:
            slot.waiting.remove(ticket)
            return
        slot.last_used = now
        if event.well and slot.state is State.READY:
            slot.served(now - granted[1])
            slot.breaker.worked()

    def _on_hold(self, event: e.Hold, now: float) -> None:
        if self._closed:
            self._effects.append(e.HoldRefused(event.asker, server_stopping()))
        else:
            self._effects += self.holders.hold(event, now, pinned_bytes=self._pinned_bytes())

    def _on_unload(self, event: e.Unload) -> None:
        slot = self.slots[event.model]
        slot.restart = False
        if slot.entry.remote or slot.state is State.COLD:
            slot.wedged = False
            self._effects.append(e.Unloaded(event.asker))
            return
        slot.askers.append(event.asker)
        slot.retiring = slot.state is State.READY  # one that loads serves those who wait for it first

    def _arrived(self, slot: Slot, now: float) -> None:
        slot.arrived(now)
        slot.measured_at = now
        self._effects.append(e.Measure(slot.entry.id, slot.generation))
        self._probe(slot)

    def _died(self, slot: Slot, failure: EngineFailed, now: float) -> None:
        model, arriving = slot.entry.id, slot.state in ARRIVING
        slot.last_error = str(failure)
        if isinstance(failure, EngineOutOfMemory):
            self.ledger.ran_out(model)
        if not isinstance(failure, MissingWeights):
            slot.breaker.failed(now, str(failure))
        if arriving:
            slot.load_failure = str(failure)
            slot.restart = False
            self._refuse_waiting(slot, load_failed(model, failure))
        elif slot.breaker.open(now):
            self._refuse_waiting(slot, engine_unavailable(model, str(failure), slot.breaker.open_until - now))
        self._stop(slot, Why.DIED)

    def _gone(self, slot: Slot) -> None:
        slot.state, slot.stuck, slot.parked_bytes = State.COLD, None, 0
        slot.retiring = slot.draining = slot.probing = slot.verified = False
        slot.wedged = slot.wedged and slot.restart
        self.ledger.release(slot.entry.id)
        for number in slot.in_flight:  # what its engine was doing ended with it, whenever the clients notice
            del self._tickets[number]
        slot.in_flight.clear()
        self._effects += [e.Unloaded(asker) for asker in slot.askers]
        slot.askers.clear()

    def _probed(self, slot: Slot, probed: e.Probed, now: float) -> None:
        slot.probing = False
        if probed.answered:
            slot.verified, slot.wedged = True, False
            slot.last_heard = max(slot.last_heard, now)
        elif slot.last_heard <= probed.sent_at:
            words = f"it takes work and says nothing: {probed.words or 'no token in time'}"
            slot.wedged, slot.wedged_at, slot.last_error = True, now, words
            slot.restart = not (self._closed or slot.askers)
            slot.breaker.failed(now, words)
            if slot.breaker.open(now):
                slot.restart = False
                self._refuse_waiting(slot, engine_unavailable(slot.entry.id, words, slot.breaker.open_until - now))
            self._stop(slot, Why.WEDGED)

    # what has become possible or due

    def _settle(self, now: float) -> None:
        self._effects += self.holders.pass_time(now)
        for slot in self.slots.values():
            self._time_out(slot, now)
            if slot.state is State.LOADING and not slot.waiting and not slot.restart and not self._worth(slot, now):
                self._stop(slot, Why.UNWANTED)
            # Before anything is planned: what was loaded for somebody serves him first, whoever else is impatient.
            self._grant_all(slot, now)
        if not self._ending:
            local = [slot for slot in self.slots.values() if not slot.entry.remote]
            idle = [resident(slot, self.ledger, self.limits, now) for slot in local if slot.idle and slot.state in KEPT]
            for model in expired(idle, now, {r.model: self.slots[r.model].entry.keep_alive_seconds for r in idle}):
                self._let_go(self.slots[model], Why.IDLE)
            if (
                any(slot.waiting or slot.restart for slot in local)
                or self.holders.growing
                or self.ledger.free_bytes < 0
            ):
                self._make_room(local, now)
            else:
                self._carry_out(Plan(), now)
        for slot in self.slots.values():
            self._grant_all(slot, now)
            if slot.askers and slot.state in (State.READY, State.ASLEEP):
                slot.retiring = True
                if not slot.in_flight:
                    self._stop(slot, Why.ASKED)
            self._watch(slot, now)

    def _make_room(self, local: Sequence[Slot], now: float) -> None:
        """For those who wait for memory. Once more after a holder was granted: its next growth may have room too."""
        granted: list[e.Effect] | None = None
        while granted is None or granted:
            residents = [resident(slot, self.ledger, self.limits, now) for slot in local]
            line = [*residents, *self.holders.wanted()]
            decided = plan(line, self.ledger.free_bytes, now, self.limits.patience_seconds)
            self._carry_out(decided, now)
            granted = self.holders.grant(decided.start, now)
            self._effects += granted

    def _carry_out(self, decided: Plan, now: float) -> None:
        for model, slot in self.slots.items():
            slot.draining = model in decided.drain
        for model in decided.evict:
            self.slots[model].evictions += 1
            self._let_go(self.slots[model], Why.EVICTED)
        for model in decided.start:
            if model not in self.slots:
                continue  # a holder
            slot = self.slots[model]
            wake = slot.state is State.ASLEEP
            if not wake:
                slot.generation += 1
            slot.state = State.WAKING if wake else State.LOADING
            slot.load_started = now
            self.ledger.reserve(model, needed_bytes(slot, self.ledger))
            self._effects.append((e.Wake if wake else e.Start)(model, slot.generation))

    def _let_go(self, slot: Slot, why: Why) -> None:
        """To sleep where it can, out of memory where it cannot or sleeps already."""
        if slot.state is not State.READY or not slot.can_sleep:
            self._stop(slot, why)
            return
        slot.state = State.SLEEPING
        parked = sum(other.parked_bytes for other in self.slots.values())
        level = 1 if parked + self.ledger.charged(slot.entry.id) <= self.limits.sleep_budget_bytes else 2
        self._effects.append(e.Sleep(slot.entry.id, slot.generation, level, why))

    def _stop(self, slot: Slot, why: Why) -> None:
        if slot.state in (State.COLD, State.STOPPING) or slot.entry.remote:
            return
        slot.state = State.STOPPING
        self._effects.append(e.Stop(slot.entry.id, slot.generation, why))

    def _grant_all(self, slot: Slot, now: float) -> None:
        for ticket in slot.grantable():
            slot.waiting.remove(ticket)
            slot.in_flight[ticket.number] = (ticket, now)
            slot.used(now, ticket.priority)
            slot.requests += 1
            loading = max(0.0, slot.load_ended - max(slot.load_started, ticket.enqueued))
            queued = max(0.0, now - ticket.enqueued - loading)
            self._effects.append(e.Grant(ticket.number, slot.entry.id, slot.generation, queued, loading))

    def _watch(self, slot: Slot, now: float) -> None:
        """Measures and probes that are due."""
        if slot.state is not State.READY or slot.entry.remote:
            return
        if now >= slot.measured_at + self.limits.measure_seconds:
            slot.measured_at = now
            self._effects.append(e.Measure(slot.entry.id, slot.generation))
        quiet_since = max(slot.last_heard, slot.last_granted)
        if slot.in_flight and not slot.probing and now >= quiet_since + self.limits.quiet_seconds:
            self._probe(slot)

    def _probe(self, slot: Slot) -> None:
        slot.probing = True
        self._effects.append(e.Probe(slot.entry.id, slot.generation))

    def _time_out(self, slot: Slot, now: float) -> None:
        if slot.state in ARRIVING:
            return  # the start of an engine has a limit of its own, after which the time counts
        for ticket in tuple(slot.waiting):
            if now >= self._deadline(slot, ticket):
                pinned = self._pinned_bytes(slot)
                self._refuse(slot, ticket, no_place(slot, self.ledger, now - ticket.enqueued, pinned_bytes=pinned))

    def _deadline(self, slot: Slot, ticket: Ticket) -> float:
        return max(ticket.enqueued, slot.load_ended) + self.limits.queue_timeout_seconds

    def _close(self) -> None:
        self._closed = True
        self._effects += self.holders.close()
        for slot in self.slots.values():
            slot.restart = False
            self._refuse_waiting(slot, server_stopping())

    def _refuse_waiting(self, slot: Slot, error: ApiError) -> None:
        for ticket in tuple(slot.waiting):
            self._refuse(slot, ticket, error)

    def _refuse(self, slot: Slot, ticket: Ticket, error: ApiError) -> None:
        slot.waiting.remove(ticket)
        del self._tickets[ticket.number]
        self._effects.append(e.Refuse(ticket.number, error))

    def _worth(self, slot: Slot, now: float) -> bool:
        return finish_unwanted_load(now - slot.load_started, slot.arrival_seconds) and not slot.askers

    def _pinned_bytes(self, but: Slot | None = None) -> int:
        """What models hold that never leave."""
        return sum(
            self.ledger.charged(slot.entry.id) for slot in self.slots.values() if slot.entry.pinned and slot != but
        )
