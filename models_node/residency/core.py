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
    queue_timeout,
    server_stopping,
)
from models_node.residency import events as e
from models_node.residency.admission import refusal
from models_node.residency.decide import (
    ARRIVING,
    Plan,
    Priority,
    Resident,
    State,
    expired,
    finish_unwanted_load,
    plan,
    value,
)
from models_node.residency.events import Event, Why
from models_node.residency.ledger import Ledger
from models_node.residency.limits import ResidencyLimits
from models_node.residency.slots import Slot, Ticket, needed_bytes
from wire.errors import ApiError

# A model works for so many times its own load before it is drained for another, so that two that both have work for
# hours spend no more than a third of them loading.
TURN_LOADS = 2.0
KEPT = (State.READY, State.ASLEEP)  # for a while, when nobody uses it


class Core:
    """`handle` is the only way in; `slots`, `ledger` and `due` may be read between two events."""

    def __init__(self, entries: Sequence[ModelEntry], limits: ResidencyLimits) -> None:
        self.slots = {entry.id: Slot(entry, State.READY if entry.remote else State.COLD) for entry in entries}
        self.limits = limits
        self.ledger = Ledger(limits.budget_bytes, {entry.id: entry.memory_bytes for entry in entries})
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
        times: list[float] = []
        wanted = False
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
                    times += [slot.load_ended + self._residence(slot), slot.load_ended + self._turn(slot)]
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
            pinned = sum(self.ledger.charged(s.entry.id) for s in self.slots.values() if s.entry.pinned and s != slot)
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
        for slot in self.slots.values():
            self._time_out(slot, now)
            if slot.state is State.LOADING and not slot.waiting and not slot.restart and not self._worth(slot, now):
                self._stop(slot, Why.UNWANTED)
            # Before anything is planned: what was loaded for somebody serves him first, whoever else is impatient.
            self._grant_all(slot, now)
        if not self._ending:
            local = [slot for slot in self.slots.values() if not slot.entry.remote]
            idle = [self._resident(slot, now) for slot in local if slot.idle and slot.state in KEPT]
            for model in expired(idle, now, {r.model: self.slots[r.model].entry.keep_alive_seconds for r in idle}):
                self._let_go(self.slots[model], Why.IDLE)
            if any(slot.waiting or slot.restart for slot in local) or self.ledger.free_bytes < 0:
                residents = [self._resident(slot, now) for slot in local]
                limits = self.limits
                self._carry_out(plan(residents, self.ledger.free_bytes, now, limits.patience_seconds), now)
            else:
                self._carry_out(Plan(), now)
        for slot in self.slots.values():
            self._grant_all(slot, now)
            if slot.askers and slot.state in (State.READY, State.ASLEEP):
                slot.retiring = True
                if not slot.in_flight:
                    self._stop(slot, Why.ASKED)
            self._watch(slot, now)

    def _carry_out(self, decided: Plan, now: float) -> None:
        for model, slot in self.slots.items():
            slot.draining = model in decided.drain
        for model in decided.evict:
            self.slots[model].evictions += 1
            self._let_go(self.slots[model], Why.EVICTED)
        for model in decided.start:
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
                self._refuse(slot, ticket, queue_timeout(slot.entry.id, now - ticket.enqueued))

    def _deadline(self, slot: Slot, ticket: Ticket) -> float:
        return max(ticket.enqueued, slot.load_ended) + self.limits.queue_timeout_seconds

    def _close(self) -> None:
        self._closed = True
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

    def _residence(self, slot: Slot) -> float:
        return min(self.limits.min_residence_seconds, slot.last_load_seconds or 0.0)

    def _turn(self, slot: Slot) -> float:
        return max(self.limits.patience_seconds, TURN_LOADS * (slot.last_load_seconds or 0.0))

    def _resident(self, slot: Slot, now: float) -> Resident:
        waiting_since = slot.waiting[0].rank if slot.waiting else (slot.wedged_at if slot.restart else None)
        charged = self.ledger.charged(slot.entry.id)
        return Resident(
            model=slot.entry.id,
            state=slot.state,
            charged_bytes=charged,
            needed_bytes=needed_bytes(slot, self.ledger),
            in_flight=len(slot.in_flight),
            waiting_since=waiting_since,
            loaded_at=slot.load_ended,
            last_used=slot.last_used,
            value=value(slot.use_at(now), slot.reload_seconds, slot.entry.priority),
            residence_seconds=self._residence(slot),
            turn_seconds=self._turn(slot),
            pinned=slot.entry.pinned,
            draining=slot.draining or slot.retiring,
            held_back=slot.breaker.open(now) or slot.stuck is not None,
            stuck=slot.stuck is not None,
        )
