"""The pool: the one task that owns the core, feeds it events and carries out its effects.

Everyone else sends it events and gets answers by futures; it handles them one after the other, so no decision is made
on state that is out of date. Engines live in lifecycle tasks that report back by events too. What is read from outside
(`status`, `progress`, `waits`) is for display and for hints, never a reason to act on an engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from typing import Any

from models_node.catalogue import ModelEntry
from models_node.errors import EngineFailed, engine_died, server_stopping
from models_node.residency import events as e
from models_node.residency.core import Core
from models_node.residency.decide import Priority, State
from models_node.residency.engine import EngineLauncher
from models_node.residency.lifecycle import Life
from models_node.residency.limits import ResidencyLimits
from models_node.residency.messages import Lease, LedgerStatus, ModelStatus, PoolEvents, Prober, Progress
from models_node.residency.telling import ledger_status_of, progress_of, status_of
from wire.errors import ApiError

log = logging.getLogger("models_node.residency")


class Pool:
    """Start it with `start`, end it with `stop`; between them `lease`, `load`, `unload`, `hold`, `status`."""

    def __init__(
        self,
        entries: Sequence[ModelEntry],
        launcher: EngineLauncher,
        limits: ResidencyLimits,
        events: PoolEvents,
        prober: Prober,
    ) -> None:
        self._core = Core(entries, limits)
        self._launcher = launcher
        self._events = events
        self._prober = prober
        self._inbox: asyncio.Queue[e.Event] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._leases: dict[int, asyncio.Future[e.Grant]] = {}
        self._unloads: dict[int, asyncio.Future[None]] = {}
        self._holds: dict[int, asyncio.Future[int]] = {}
        self._lives: dict[str, Life] = {}
        self._heard: dict[str, tuple[int, float]] = {}  # by model: the engine's generation, and when
        self._chores: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._owner: asyncio.Task[None] | None = None
        self._over = False
        self._handling = False

    # what others call

    def start(self) -> None:
        self._owner = asyncio.create_task(self._run(), name="residency")

    async def stop(self) -> None:
        """Refuses and ends everything; returns when no engine is left. May be called again."""
        if self._owner is None:
            return
        self._inbox.put_nowait(e.Shutdown())
        await asyncio.shield(self._owner)

    def refuse(self) -> None:
        """From now on nobody gets in, and those that wait are told so; what is in flight goes on."""
        self._inbox.put_nowait(e.CloseDoor())

    @contextlib.asynccontextmanager
    async def lease(self, model: str, priority: Priority = Priority.INTERACTIVE) -> AsyncIterator[Lease]:
        """A place in the model's engine, loading it if need be. Cancelling gives up the place, or the wait for it.

        Raises ApiError: 429 queue full; 503 no room, breaker open or stopping; 502 load failed; 504 load took too long.
        """
        if self._over:
            raise server_stopping()
        number = next(self._numbers)
        answer: asyncio.Future[e.Grant] = asyncio.get_running_loop().create_future()
        self._leases[number] = answer
        self._now(e.Request(number, model, priority))
        well = False
        try:
            granted = await answer
            yield self._lease(granted)
            well = True
        finally:
            self._leases.pop(number, None)
            self._now(e.Finished(number, well))

    def broken(self, lease: Lease) -> None:
        """The engine of this lease is dead, by its own word or its closed socket: nobody else is sent there."""
        failure = EngineFailed("it answers no more: its core or its process ended")
        self._inbox.put_nowait(e.Died(lease.model, lease.generation, failure))

    async def load(self, model: str) -> Lease:
        """Waits until the model is loaded. Raises as `lease` does."""
        async with self.lease(model) as lease:
            return lease

    async def unload(self, model: str) -> None:
        """Waits until the model is cold. What is in flight is finished first, what comes meanwhile waits."""
        if self._over:
            raise server_stopping()
        number = next(self._numbers)
        done = self._unloads[number] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait(e.Unload(model, number))
        await done

    async def hold(self, holder: str, bytes_: int, *, in_use: bool, ttl_seconds: float) -> int:
        """So much is the holder's, in all, until it says otherwise or nothing for `ttl_seconds`. Returns the bytes that
        are free now. in_use: they are taken already, and charged whatever there is.

        Raises ApiError: 503 no room in time, or stopping; 429 too many holders. What it held before stands then.
        """
        if self._over:
            raise server_stopping()
        number = next(self._numbers)
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._holds[number] = answer
        self._now(e.Hold(number, holder, bytes_, in_use, ttl_seconds))
        try:
            return await answer
        finally:
            del self._holds[number]
            if not answer.done() or answer.cancelled():
                self._now(e.HoldAbandoned(number))

    def release(self, holder: str) -> None:
        """The holder holds nothing any more; whoever waits for memory is served."""
        self._now(e.HolderLeft(holder))

    def status(self) -> tuple[ModelStatus, ...]:
        """Every model of the catalogue, in its order."""
        now = time.monotonic()
        core = self._core
        told: list[ModelStatus] = []
        for model, slot in core.slots.items():
            life = self._lives.get(model)
            pid = life.engine.pid if life and life.engine else None
            told.append(status_of(slot, core.ledger, pid, life.socket if life else None, now))
        return tuple(told)

    def ledger(self) -> LedgerStatus:
        return ledger_status_of(self._core.ledger, self._core.holders.until(), time.monotonic())

    def progress(self, model: str) -> Progress:
        return progress_of(self._core.slots[model], time.monotonic())

    def waits(self) -> Mapping[str, float]:
        """Seconds that a request would wait for each model now, as far as can be told; 0: loaded, with a free place."""
        now = time.monotonic()
        return {model: slot.wait_seconds(now) for model, slot in self._core.slots.items()}

    # the owner's side

    async def _run(self) -> None:
        while not self._core.ended:
            event = await self._inbox.get()
            self._handle_well(event)
        self._over = True
        if self._timer:
            self._timer.cancel()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        lives = list(self._lives.values())
        for life in lives:  # what was being stopped before the shutdown was never told to leave it at that
            life.stop(give_up=True)
        await asyncio.gather(*(life.task for life in lives), return_exceptions=True)
        for waiting in self._leases.values():
            if not waiting.done():
                waiting.set_exception(server_stopping())
        for holding in self._holds.values():
            if not holding.done():
                holding.set_exception(server_stopping())
        for unload in self._unloads.values():
            if not unload.done():
                unload.set_result(None)

    def _now(self, event: e.Event) -> None:
        """Handles the event at once where its owner has nothing else to do: handling never waits, so this is still
        one event after the other, without the two turns of the loop that a message and its answer take.
        """
        if self._handling or not self._inbox.empty() or self._owner is None or self._over:
            self._inbox.put_nowait(event)
        else:
            self._handle_well(event)

    def _handle_well(self, event: e.Event) -> None:
        self._handling = True
        try:
            self._handle(event)
        except Exception:  # one event's fault must not leave everyone else without an owner
            log.exception("residency: %s failed", type(event).__name__)
        finally:
            self._handling = False

    def _handle(self, event: e.Event) -> None:
        now = time.monotonic()
        self._observe(event)
        effects = self._core.handle(event, now)
        for effect in effects:
            self._carry_out(effect)
        self._arm(now)

    def _observe(self, event: e.Event) -> None:
        """What logs, metrics and the proxy are told of an event, before the core forgets what it was about."""
        match event:
            case e.Gone(model, generation):
                life = self._lives.get(model)
                if life is not None and life.generation == generation:
                    del self._lives[model]
                    self._heard.pop(model, None)
                    self._events.gone(model, life.socket)
            case e.Died(model, generation, failure):
                slot = self._core.slots[model]
                if slot.generation == generation and slot.state not in (State.STOPPING, State.COLD):
                    loading = slot.state is State.LOADING
                    log.error("engine ended", extra={"model": model, "loading": loading, "reason": str(failure)})
                    if loading:
                        self._events.load_failed(model)
            case e.Loaded(model, generation):
                slot = self._core.slots[model]
                if slot.generation == generation and slot.state is State.LOADING:
                    seconds = time.monotonic() - slot.load_started
                    log.info("loaded", extra={"model": model, "seconds": round(seconds, 2)})
                    self._events.loaded(model, seconds)
            case _:
                pass

    def _carry_out(self, effect: e.Effect) -> None:
        match effect:
            case e.Grant():
                answer = self._leases.get(effect.ticket)
                if answer is not None and not answer.done():
                    answer.set_result(effect)
            case e.Refuse(ticket, error):
                self._fail(ticket, error)
            case e.Start(model, generation):
                log.info("loading", extra={"model": model})
                entry = self._core.slots[model].entry
                self._lives[model] = Life(entry, generation, self._launcher, self._inbox.put_nowait)
            case e.Stop(model, _, why):
                log.info("stopped", extra={"model": model, "why": why.value})
                self._told(model, why)
                self._lives[model].stop(give_up=why is e.Why.SHUTDOWN)
            case e.Sleep(model, _, level, why):
                log.info("put to sleep", extra={"model": model, "level": level, "why": why.value})
                self._told(model, why)
                self._lives[model].sleep(level)
            case e.Wake(model):
                self._lives[model].wake()
            case e.Measure(model):
                self._do(self._measure(self._lives[model]))
            case e.Probe(model):
                self._do(self._probe(self._lives[model]))
            case e.Held(asker, free_bytes):
                holding = self._holds.get(asker)
                if holding is not None and not holding.done():
                    holding.set_result(free_bytes)
            case e.HoldRefused(asker, error):
                holding = self._holds.get(asker)
                if holding is not None and not holding.done():
                    holding.set_exception(error)
            case e.HolderSilent(holder, bytes_):
                log.warning("a holder of memory fell silent", extra={"holder": holder, "bytes": bytes_})
            case e.Unloaded(asker):
                done = self._unloads.pop(asker, None)
                if done is not None and not done.done():
                    done.set_result(None)

    def _told(self, model: str, why: e.Why) -> None:
        if why is e.Why.EVICTED:
            self._events.evicted(model)
        elif why is e.Why.WEDGED:
            self._events.wedged(model)

    def _fail(self, ticket: int, error: ApiError) -> None:
        answer = self._leases.get(ticket)
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def _lease(self, granted: e.Grant) -> Lease:
        life = self._lives.get(granted.model)
        model, generation = granted.model, granted.generation

        def heard() -> None:
            self._heard[model] = (generation, time.monotonic())

        socket = life.socket if life is not None and life.generation == generation else None
        if socket is None and not self._core.slots[model].entry.remote:
            raise engine_died(model, "its engine ended just now")
        return Lease(model, socket, granted.queue_seconds, granted.load_seconds, heard, generation)

    async def _measure(self, life: Life) -> None:
        if life.engine is None:
            return
        measured = await asyncio.to_thread(life.engine.measure)
        shared = await asyncio.to_thread(self._launcher.shared_bytes)
        self._inbox.put_nowait(e.Measured(life.entry.id, life.generation, measured.private_bytes, shared))

    async def _probe(self, life: Life) -> None:
        if life.socket is None:
            return
        sent_at = time.monotonic()
        answered, words = True, ""
        try:
            await self._prober.probe(life.entry, life.socket)
        except EngineFailed as failure:
            answered, words = False, str(failure)
        self._inbox.put_nowait(e.Tick(self._heard_now()))  # what came meanwhile counts before the verdict
        self._inbox.put_nowait(e.Probed(life.entry.id, life.generation, answered, sent_at, words))

    def _heard_now(self) -> dict[str, float]:
        slots = self._core.slots
        return {model: at for model, (generation, at) in self._heard.items() if slots[model].generation == generation}

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(chore)
        self._chores.add(task)
        task.add_done_callback(self._chore_done)

    def _chore_done(self, task: asyncio.Task[None]) -> None:
        self._chores.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("residency: a measurement or a probe failed", exc_info=error)

    def _arm(self, now: float) -> None:
        if self._timer:
            self._timer.cancel()
        due = self._core.due(now)
        self._timer = None
        if due is not None:
            delay = max(0.001, due - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._inbox.put_nowait(e.Tick(self._heard_now()))
