"""The pool: the one task that owns which engine is in which state, and who waits for it.

Everyone else sends it messages and gets answers by futures; it handles them one after the other, then `_settle`s: what
a message made possible or necessary is decided there, in one place, by `decide`. So no read can be out of date when it
is acted on. Processes live in lifecycle tasks, one for each started engine, that report back by messages too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from models_node.catalogue import ModelEntry
from models_node.errors import (
    EngineFailed,
    engine_died,
    load_failed,
    model_busy,
    out_of_memory,
    queue_full,
    queue_timeout,
    server_stopping,
)
from models_node.residency.decide import Admission, Plan, Resident, State, admit, expired, plan
from models_node.residency.engine import Engine, EngineLauncher
from models_node.residency.lifecycle import live
from models_node.residency.messages import (
    Acquire,
    Broken,
    Ended,
    Gone,
    Lease,
    Look,
    Message,
    ModelStatus,
    PoolEvents,
    PoolLimits,
    Ready,
    Refuse,
    Release,
    Slot,
    StopAll,
    Tick,
    Ticket,
    Unload,
)
from wire.errors import ApiError

log = logging.getLogger("models_node.residency")

T = TypeVar("T")


class Pool:
    """Start it with `start`, end it with `stop`; between them `lease`, `load`, `unload`, `status`."""

    def __init__(
        self, entries: Sequence[ModelEntry], launcher: EngineLauncher, limits: PoolLimits, events: PoolEvents
    ) -> None:
        self._slots = {entry.id: Slot(entry, State.READY if entry.remote else State.COLD) for entry in entries}
        self._launcher = launcher
        self._limits = limits
        self._events = events
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._orders = itertools.count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._owner: asyncio.Task[None] | None = None
        self._refusing = False
        self._ending = False

    # what others call

    def start(self) -> None:
        self._owner = asyncio.create_task(self._run(), name="residency")

    async def stop(self) -> None:
        """Refuses and ends everything; returns when no engine is left. May be called again."""
        if self._owner is None:
            return
        self._inbox.put_nowait(StopAll())
        await asyncio.shield(self._owner)

    def refuse(self) -> None:
        """From now on nobody gets in, and those that wait are told so; what is in flight goes on."""
        self._inbox.put_nowait(Refuse())

    @contextlib.asynccontextmanager
    async def lease(self, model: str) -> AsyncIterator[Lease]:
        """A place in the model's engine, loading it if need be. Cancelling gives up the place, or the wait for it.

        Raises ApiError: 429 queue full, 503 no room or stopping, 502 load failed, 504 load took too long.
        """
        if self._ending:
            raise server_stopping()
        now = time.monotonic()
        future: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        ticket = Ticket(model, next(self._orders), future, now, now + self._limits.queue_timeout_seconds)
        self._inbox.put_nowait(Acquire(ticket))
        try:
            yield await future
        finally:
            self._inbox.put_nowait(Release(ticket))

    def broken(self, lease: Lease) -> None:
        """The engine of this lease is dead, by its own word or its closed socket: nobody else is sent there."""
        self._inbox.put_nowait(Broken(lease.model, lease.socket))

    async def load(self, model: str) -> Lease:
        """Waits until the model is loaded. Raises as `lease` does."""
        async with self.lease(model) as lease:
            return lease

    async def unload(self, model: str) -> None:
        """Waits until the model is cold. Raises Conflict while requests are in flight or wait for it."""
        if self._ending:
            raise server_stopping()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(Unload(model, done))
        await done

    async def status(self) -> tuple[ModelStatus, ...]:
        """Every model of the catalogue, in its order."""
        if self._ending:
            return ()
        answer: asyncio.Future[tuple[ModelStatus, ...]] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(Look(answer))
        return await answer

    # the owner's side

    async def _run(self) -> None:
        while not (self._ending and all(slot.task is None for slot in self._slots.values())):
            message = await self._inbox.get()
            try:
                self._handle(message)
                self._settle()
            except Exception:  # one message's fault must not leave everyone else without an owner
                log.exception("residency: %s failed", type(message).__name__)
        if self._timer:
            self._timer.cancel()
        while not self._inbox.empty():
            self._answer_late(self._inbox.get_nowait())

    def _handle(self, message: Message) -> None:
        match message:
            case Acquire(ticket):
                self._acquire(ticket)
            case Release(ticket):
                slot = self._slots[ticket.model]
                slot.waiting.pop(ticket, None)
                if ticket in slot.in_flight:
                    slot.in_flight.discard(ticket)
                    slot.last_used = time.monotonic()
            case Unload(model, done):
                self._unload(self._slots[model], done)
            case Look(answer):
                _resolve(answer, tuple(self._status(slot) for slot in self._slots.values()))
            case Ready(model, generation, engine):
                if found := self._current(model, generation, State.LOADING):
                    self._became_ready(found, engine)
            case Ended(model, generation, failure):
                if found := self._current(model, generation, State.LOADING, State.READY):
                    self._ended(found, failure)
            case Broken(model, socket):
                slot = self._slots[model]
                if slot.state is State.READY and slot.socket is not None and slot.socket == socket:
                    log.error("engine is dead by what its reply says", extra={"model": model})
                    slot.last_error = "it answers no more: its core or its process ended"
                    self._stop(slot)
            case Gone(model, generation):
                if found := self._current(model, generation, State.LOADING, State.READY, State.STOPPING):
                    self._gone(found)
            case Refuse():
                self._refuse_all()
            case StopAll():
                self._ending = True
                self._refuse_all()
                for slot in self._slots.values():
                    self._stop(slot)
            case Tick():
                pass

    def _settle(self) -> None:
        """Whatever has become possible or due: time-outs, grants, unwanted loads, idle engines, loads, evictions."""
        now = time.monotonic()
        for slot in self._slots.values():
            self._time_out(slot, now)
            self._grant(slot, now)
            if slot.state is State.LOADING and not slot.waiting:
                log.info("load given up: nobody waits for it any more", extra={"model": slot.entry.id})
                self._stop(slot)
        if not self._ending:
            local = [self._resident(slot) for slot in self._slots.values() if not slot.entry.remote]
            for model in expired(local, now, {r.model: self._slots[r.model].entry.keep_alive_seconds for r in local}):
                log.info("unloaded: idle", extra={"model": model})
                self._stop(self._slots[model])
            self._carry_out(plan([self._resident(self._slots[r.model]) for r in local], self._limits.budget_bytes))
        self._arm(now)

    def _carry_out(self, decided: Plan) -> None:
        for model in decided.evict:
            log.info("evicted", extra={"model": model})
            self._events.evicted(model)
            self._stop(self._slots[model])
        for model in decided.load:
            self._load(self._slots[model])

    def _acquire(self, ticket: Ticket) -> None:
        slot = self._slots[ticket.model]
        if self._refusing:
            _fail(ticket.future, server_stopping())
            return
        if ticket.future.done():
            return  # given up before it was seen
        budget = self._limits.budget_bytes
        verdict = admit(
            self._resident(slot),
            max_concurrent=slot.entry.max_concurrent,
            queued=sum(len(each.waiting) for each in self._slots.values()),
            queue_limit=self._limits.queue_limit,
            budget_bytes=budget,
        )
        match verdict:
            case Admission.OUT_OF_MEMORY:
                _fail(ticket.future, out_of_memory(ticket.model, slot.entry.memory_bytes, budget))
            case Admission.QUEUE_FULL:
                _fail(ticket.future, queue_full(self._limits.queue_limit))
            case Admission.QUEUE | Admission.GRANT:
                slot.waiting[ticket] = None  # `_settle` grants it at once where it can

    def _grant(self, slot: Slot, now: float) -> None:
        if slot.state is not State.READY:
            return
        while slot.waiting and len(slot.in_flight) < slot.entry.max_concurrent:
            ticket = next(iter(slot.waiting))
            del slot.waiting[ticket]
            loading = max(0.0, slot.load_ended - max(slot.load_started, ticket.enqueued))
            waited = now - ticket.enqueued
            if _resolve(ticket.future, Lease(ticket.model, slot.socket, max(0.0, waited - loading), loading)):
                slot.in_flight.add(ticket)
                slot.requests += 1
                slot.last_used = now

    def _time_out(self, slot: Slot, now: float) -> None:
        if slot.state is State.LOADING:
            return  # the start of an engine has a limit of its own
        for ticket in [ticket for ticket in slot.waiting if ticket.deadline <= now]:
            del slot.waiting[ticket]
            _fail(ticket.future, queue_timeout(ticket.model, now - ticket.enqueued))

    def _unload(self, slot: Slot, done: asyncio.Future[None]) -> None:
        if slot.in_flight or slot.waiting:
            _fail(done, model_busy(slot.entry.id, len(slot.in_flight) + len(slot.waiting)))
        elif slot.task is None:
            _resolve(done, None)
        else:
            slot.unloading.append(done)
            self._stop(slot)

    def _load(self, slot: Slot) -> None:
        slot.state = State.LOADING
        slot.generation += 1
        slot.load_started = time.monotonic()
        gone = Gone(slot.entry.id, slot.generation)
        life = live(slot.entry, slot.generation, self._launcher, self._inbox.put_nowait)
        slot.task = asyncio.create_task(life, name=f"engine {slot.entry.id}")
        slot.task.add_done_callback(lambda _: self._inbox.put_nowait(gone))
        log.info("loading", extra={"model": slot.entry.id})

    def _became_ready(self, slot: Slot, engine: Engine) -> None:
        now = time.monotonic()
        slot.state, slot.engine, slot.socket = State.READY, engine, engine.socket
        slot.load_ended = slot.last_used = now
        slot.last_load_seconds = now - slot.load_started
        slot.last_error = slot.load_failure = None
        slot.load_seconds += slot.last_load_seconds
        slot.loads += 1
        for ticket in slot.waiting:
            ticket.deadline = now + self._limits.queue_timeout_seconds
        log.info("loaded", extra={"model": slot.entry.id, "seconds": round(slot.last_load_seconds, 2)})
        self._events.loaded(slot.entry.id, slot.last_load_seconds)

    def _ended(self, slot: Slot, failure: EngineFailed) -> None:
        """The engine ended by itself. Requests in flight notice by their broken connection."""
        model = slot.entry.id
        loading = slot.state is State.LOADING
        slot.state, slot.last_error = State.STOPPING, str(failure)
        log.error("engine ended", extra={"model": model, "loading": loading, "reason": str(failure)})
        if loading:
            slot.load_failure = str(failure)
            self._events.load_failed(model)
        self._fail_waiting(slot, load_failed(model, failure) if loading else engine_died(model, f"it ended: {failure}"))

    def _gone(self, slot: Slot) -> None:
        """No process of it is left: its memory is free."""
        self._events.gone(slot.entry.id, slot.socket)
        slot.state, slot.task, slot.engine, slot.socket = State.COLD, None, None, None
        for done in slot.unloading:
            _resolve(done, None)
        slot.unloading.clear()

    def _stop(self, slot: Slot) -> None:
        if slot.task is not None and slot.state is not State.STOPPING:
            slot.state = State.STOPPING
            slot.task.cancel()

    def _refuse_all(self) -> None:
        self._refusing = True
        for slot in self._slots.values():
            self._fail_waiting(slot, server_stopping())

    def _fail_waiting(self, slot: Slot, error: ApiError) -> None:
        for ticket in slot.waiting:
            _fail(ticket.future, error)
        slot.waiting.clear()

    def _arm(self, now: float) -> None:
        """Wakes the pool when the next time limit or keep-alive is due."""
        if self._timer:
            self._timer.cancel()
        due: list[float] = []
        for slot in self._slots.values():
            if slot.state is not State.LOADING:
                due += [ticket.deadline for ticket in slot.waiting]
            if slot.state is State.READY and slot.task and not slot.in_flight and not slot.waiting:
                due.append(slot.last_used + slot.entry.keep_alive_seconds)
        self._timer = None
        if due and not self._ending:
            delay = max(0.001, min(due) - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self._inbox.put_nowait, Tick())

    def _current(self, model: str, generation: int, *states: State) -> Slot | None:
        """The slot, if the message is about its present engine and that is in one of `states`."""
        slot = self._slots[model]
        return slot if slot.generation == generation and slot.state in states else None

    def _resident(self, slot: Slot) -> Resident:
        return Resident(
            model=slot.entry.id,
            state=slot.state,
            memory_bytes=slot.entry.memory_bytes,
            in_flight=len(slot.in_flight),
            waiting=len(slot.waiting),
            oldest_wait=next(iter(slot.waiting)).order if slot.waiting else 0,
            last_used=slot.last_used,
        )

    def _status(self, slot: Slot) -> ModelStatus:
        return ModelStatus(
            model=slot.entry.id,
            state=slot.state,
            remote=slot.entry.remote,
            pid=slot.engine.pid if slot.engine else None,
            socket=slot.socket,
            memory_bytes=slot.entry.memory_bytes,
            in_flight=len(slot.in_flight),
            waiting=len(slot.waiting),
            idle_seconds=time.monotonic() - slot.last_used if slot.last_used else None,
            requests=slot.requests,
            loads=slot.loads,
            last_load_seconds=slot.last_load_seconds,
            mean_load_seconds=slot.load_seconds / slot.loads if slot.loads else None,
            last_error=slot.last_error,
            load_failure=slot.load_failure,
            engine=slot.engine,
        )

    def _answer_late(self, message: Message) -> None:
        """What was sent while the pool ended."""
        match message:
            case Acquire(ticket):
                _fail(ticket.future, server_stopping())
            case Unload(_, done):
                _resolve(done, None)
            case Look(answer):
                _resolve(answer, ())


def _resolve(future: asyncio.Future[T], value: T) -> bool:
    if future.done():
        return False
    future.set_result(value)
    return True


def _fail(future: asyncio.Future[T], error: ApiError) -> None:
    if not future.done():
        future.set_exception(error)
