"""The sandboxes: the one task that owns the core, feeds it events and carries out its effects.

Everyone else sends it events and gets answers by futures; it handles them one after the other, so no decision is made
on state that is out of date. What is read from outside (`find`, `listed`, `stats`) is for display, and for passing
requests on to a sandbox that may be gone by then: its socket says so.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import psutil

from models_node.sandbox import errors
from models_node.sandbox.errors import AgentUnreachable
from models_node.sandbox.gateway import events as e
from models_node.sandbox.gateway import metrics
from models_node.sandbox.gateway.core import Core
from models_node.sandbox.gateway.egress_rules import EgressRules
from models_node.sandbox.gateway.launching import OUT_OF_MEMORY, Launcher
from models_node.sandbox.gateway.life import Life
from models_node.sandbox.gateway.limits import (
    HOLD_TTL_SECONDS,
    INIT_SECONDS,
    LEDGER_SECONDS,
    MEASURE_SECONDS,
    LifecycleLimits,
)
from models_node.sandbox.gateway.memory import HOLDER, NodeMemory
from models_node.sandbox.gateway.records import Claim, Gone, Sandbox, State, Why
from models_node.sandbox.gateway.samples import Samples
from models_node.sandbox.gateway.upstream import ask
from wire.errors import ApiError

log = logging.getLogger("models_node.sandbox")

TEMPLATE = "template"  # the id that the launcher knows the forked template's memory by
PROXY_URL = "http://127.0.0.1:3128"
CREATIONS_REMEMBERED = 1000
ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


def new_id() -> str:
    return "i" + "".join(secrets.choice(ID_ALPHABET) for _ in range(20))


class Sandboxes:
    """Start it with `start`, end it with `stop`; between them `create`, `kill`, `set_timeout` and what tells of it."""

    def __init__(
        self,
        connect: Callable[[], Launcher],
        memory: NodeMemory,
        limits: LifecycleLimits,
        rules: EgressRules,
        folder: Path,
    ) -> None:
        self.core = Core(limits, new_id)
        self.samples = Samples()
        self.creation_seconds: deque[float] = deque(maxlen=CREATIONS_REMEMBERED)
        self.rules = rules
        self._connect = connect
        self._launcher: Launcher
        self._memory = memory
        self._folder = folder
        self._inbox: asyncio.Queue[e.Event] = asyncio.Queue()
        self._numbers = itertools.count(1)
        self._creations: dict[int, asyncio.Future[str]] = {}
        self._answers: dict[int, asyncio.Future[bool]] = {}
        self._lives: dict[str, Life] = {}
        self._chores: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._owner: asyncio.Task[None] | None = None
        self._measurer: asyncio.Task[None] | None = None
        self._over = self._handling = False

    # what others call

    def start(self) -> None:
        self._launcher = self._connect()  # in the loop that its answers come to
        self._launcher.on_exit(self._exited)
        self._owner = asyncio.create_task(self._run(), name="sandboxes")
        self._measurer = asyncio.create_task(self._measure(), name="sandbox measurements")

    async def stop(self) -> None:
        """Refuses and ends everything; returns when no sandbox is left. May be called again."""
        if self._owner is None or self._measurer is None:
            return
        self._measurer.cancel()
        self._inbox.put_nowait(e.Shutdown())
        await asyncio.shield(self._owner)

    @property
    def unavailable(self) -> str | None:
        return self._launcher.unavailable

    @property
    def starting(self) -> bool:
        return self._launcher.starting

    async def create(self, claim: Claim, environment: Mapping[str, str]) -> Sandbox:
        """A sandbox of the caller's own; cancelling gives it up. Raises ApiError (429: queue full, 503: none)."""
        if self._over:
            raise errors.gateway_stopping()
        begun, number = time.perf_counter(), next(self._numbers)
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._creations[number] = answer
        self._now(e.Create(number, claim))
        try:
            sandbox_id = await answer
            await self._initialise(sandbox_id, claim, environment)
        except ApiError as error:
            metrics.refused(error.code)
            raise
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and answer.exception() is None:
                self._inbox.put_nowait(e.Kill(answer.result(), None, Why.ABANDONED))
            raise
        finally:
            del self._creations[number]
            self._now(e.Withdraw(number))
        seconds = time.perf_counter() - begun
        self.creation_seconds.append(seconds)
        metrics.CREATIONS.observe(seconds)
        sandbox = self.core.running(sandbox_id)
        if sandbox is None:
            raise errors.creation_failed("it ended at once.")
        return sandbox

    async def kill(self, sandbox_id: str) -> bool:
        """Waits until nothing of it is left. False when there was no such sandbox."""
        return await self._ask(lambda asker: e.Kill(sandbox_id, asker))

    async def set_timeout(self, sandbox_id: str, seconds: float, *, extend: bool) -> bool:
        """It ends so many seconds from now; with extend, not earlier than it would have."""
        return await self._ask(lambda asker: e.SetTimeout(sandbox_id, asker, seconds, extend))

    def find(self, sandbox_id: str) -> Sandbox | None:
        """A running sandbox."""
        return self.core.running(sandbox_id)

    def socket(self, sandbox_id: str) -> Path | None:
        life = self._lives.get(sandbox_id)
        return life.socket if life is not None else None

    def gone(self, sandbox_id: str) -> Gone | None:
        """What is remembered of one that ended."""
        return self.core.gone.get(sandbox_id)

    def listed(self) -> list[Sandbox]:
        return [sandbox for sandbox in self.core.sandboxes.values() if sandbox.state is State.RUNNING]

    async def sample(self, sandbox: Sandbox) -> None:
        """Measures one sandbox now."""
        usage = await self._launcher.usage(sandbox.id)
        if usage is not None and self.core.running(sandbox.id) is sandbox:
            self.samples.add(sandbox, usage, time.monotonic())

    # the owner's side

    async def _run(self) -> None:
        while not self.core.ended:
            self._handle_well(await self._inbox.get())
        self._over = True
        if self._timer:
            self._timer.cancel()
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        for waiting in self._creations.values():
            if not waiting.done():
                waiting.set_exception(errors.gateway_stopping())
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(False)
        try:
            async with asyncio.timeout(INIT_SECONDS):
                await self._memory.release(HOLDER)
        except (ApiError, TimeoutError):
            log.info("the ledger could not be told; its holding ends by itself")

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
            log.exception("sandboxes: %s failed", type(event).__name__)
        finally:
            self._handling = False

    def _handle(self, event: e.Event) -> None:
        now = time.monotonic()
        words = self._launcher.unavailable
        if words != self.core.unavailable:
            self._carry_out(self.core.handle(e.Availability(words), now))
        self._carry_out(self.core.handle(event, now))
        if isinstance(event, e.Ended):
            self._lives.pop(event.sandbox_id, None)
            self.samples.forget(event.sandbox_id)
        self._arm(now)

    def _carry_out(self, effects: list[e.Effect]) -> None:
        for effect in effects:
            match effect:
                case e.Grant(ticket, sandbox_id):
                    self._granted(ticket, sandbox_id)
                case e.Refuse(ticket, error):
                    creation = self._creations.get(ticket)
                    if creation is not None and not creation.done():
                        creation.set_exception(error)
                case e.Launch(sandbox_id):
                    self._lives[sandbox_id] = Life(
                        sandbox_id, self._folder, self._launcher, self.rules, self._inbox.put_nowait
                    )
                case e.Destroy(sandbox_id, why):
                    log.info("sandbox ended", extra={"sandbox": sandbox_id, "why": why.name.lower()})
                    metrics.ENDED.labels(why.name.lower()).inc()
                    self._lives[sandbox_id].end(give_up=why is Why.SHUTDOWN)
                case e.Hold(bytes_, in_use):
                    self._do(self._hold(bytes_, in_use))
                case e.Answer(asker, found):
                    answer = self._answers.get(asker)
                    if answer is not None and not answer.done():
                        answer.set_result(found)

    def _granted(self, ticket: int, sandbox_id: str) -> None:
        creation = self._creations.get(ticket)
        if creation is None or creation.done():  # its client left a moment ago
            self._inbox.put_nowait(e.Kill(sandbox_id, None, Why.ABANDONED))
            return
        creation.set_result(sandbox_id)

    async def _initialise(self, sandbox_id: str, claim: Claim, environment: Mapping[str, str]) -> None:
        """Opens or closes its way out, and gives the agent the environment. Raises ApiError."""
        life = self._lives.get(sandbox_id)
        if life is None:
            raise errors.creation_failed("it ended at once.")
        variables = dict(environment)
        if claim.egress and life.open_way_out():
            variables = {"HTTP_PROXY": PROXY_URL, "HTTPS_PROXY": PROXY_URL} | variables
            variables = {"http_proxy": PROXY_URL, "https_proxy": PROXY_URL} | variables
        else:
            life.close_way_out()
        if not variables:
            return
        try:
            async with asyncio.timeout(INIT_SECONDS):
                status = await ask(life.socket, "POST", "/init", json.dumps({"envVars": variables}).encode())
            words = f"its agent refused the environment ({status})" if status >= 400 else ""
        except AgentUnreachable as error:
            words = f"its agent cannot be reached: {error}"
        except TimeoutError:
            words = f"its agent did not take the environment in {INIT_SECONDS:g} s"
        if words:
            self._inbox.put_nowait(e.Kill(sandbox_id, None, Why.LAUNCH_FAILED))
            raise errors.creation_failed(words)

    async def _ask(self, question: Any) -> bool:
        if self._over:
            return False
        number = next(self._numbers)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self._now(question(number))
            return await answer
        finally:
            del self._answers[number]

    def _exited(self, sandbox_id: str, reason: str) -> None:
        why = Why.OUT_OF_MEMORY if reason == OUT_OF_MEMORY else Why.EXITED
        self._inbox.put_nowait(e.Exited(sandbox_id, why))

    async def _hold(self, bytes_: int, in_use: bool) -> None:
        event: e.Event = e.LedgerAway()
        try:
            async with asyncio.timeout(LEDGER_SECONDS):
                await self._memory.hold(HOLDER, bytes_, in_use=in_use, ttl_seconds=HOLD_TTL_SECONDS)
            event = e.Granted(bytes_)
        except ApiError as error:
            if error.code == "out_of_memory":
                event = e.Denied(f"the node has no memory left for another: {error.detail}")
        except TimeoutError:
            pass
        finally:  # whatever happens, the core does not wait for ever
            self._inbox.put_nowait(event)

    async def _measure(self) -> None:
        process = psutil.Process()
        while True:
            try:
                template = await self._launcher.usage(TEMPLATE)
                base = process.memory_info().rss + (template.memory_bytes if template is not None else 0)
                found: dict[str, int] = {}
                for sandbox in tuple(self.core.sandboxes.values()):
                    usage = await self._launcher.usage(sandbox.id)
                    if usage is not None:
                        found[sandbox.id] = usage.memory_bytes
                        if sandbox.state is State.RUNNING:
                            self.samples.add(sandbox, usage, time.monotonic())
                self._inbox.put_nowait(e.Measured(found, base))
            except Exception:
                log.exception("sandboxes could not be measured")
            await asyncio.sleep(MEASURE_SECONDS)

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(chore)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    def _arm(self, now: float) -> None:
        if self._timer:
            self._timer.cancel()
        due = self.core.due(now)
        self._timer = None
        if due is not None:
            delay = max(0.001, due - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self._inbox.put_nowait, e.Tick())
