"""The core: the state of every sandbox and of every creation that waits, one event in, the effects out.

No clock, process or network here: whoever owns the core tells it what happened and when, and carries out what it
wants. What has become possible or due is decided after each event, in one place, `_settle`.

Policies:
- Creations are served in the order they came: a warm sandbox if there is one, else the next that becomes warm.
- The pool is refilled behind them, one at a time, as far as count and memory allow.
- A launch that fails fails the creation that has waited longest, and the next is tried a little later each time.
- A sandbox that is not seen to be gone keeps its place and its memory.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from models_node.sandbox import errors
from models_node.sandbox.gateway import events as e
from models_node.sandbox.gateway.holding import Holding
from models_node.sandbox.gateway.limits import (
    FIRST_BACKOFF_SECONDS,
    GONE_REMEMBERED,
    LAUNCHES_AT_ONCE,
    LONGEST_BACKOFF_SECONDS,
    REFILLS_AT_ONCE,
    LifecycleLimits,
)
from models_node.sandbox.gateway.records import Gone, Sandbox, State, Waiting, Why

LONGEST_RETRY_AFTER_SECONDS = 30.0


class Core:
    """`handle` is the only way in; everything public may be read between two events."""

    def __init__(self, limits: LifecycleLimits, new_id: Callable[[], str]) -> None:
        self.limits = limits
        self.sandboxes: dict[str, Sandbox] = {}
        self.waiting: deque[Waiting] = deque()
        self.gone: OrderedDict[str, Gone] = OrderedDict()
        self.holding = Holding(limits.admitted_bytes, limits.total_bytes)
        self.unavailable: str | None = None
        self.launch_failure: str | None = None  # of the last launch, until one goes well
        self._new_id = new_id
        self._failures = 0
        self._launch_after = 0.0
        self._closed = False
        self._effects: list[e.Effect] = []

    def handle(self, event: e.Event, now: float) -> list[e.Effect]:
        """What has to be done now, in this order. Events about sandboxes that are no longer there mean nothing."""
        self._effects = []
        self._dispatch(event, now)
        self._settle(now)
        return self._effects

    @property
    def ended(self) -> bool:
        return self._closed and not self.sandboxes

    def count(self) -> Counter[State]:
        return Counter(sandbox.state for sandbox in self.sandboxes.values())

    def running(self, sandbox_id: str) -> Sandbox | None:
        sandbox = self.sandboxes.get(sandbox_id)
        return sandbox if sandbox is not None and sandbox.state is State.RUNNING else None

    def due(self, now: float) -> float | None:
        """When the core wants a `Tick` although nothing happens; None: never."""
        times = [s.ends_at for s in self.sandboxes.values() if s.state is State.RUNNING]
        if self.waiting:
            times.append(self.waiting[0].since + self.limits.create_wait_seconds)
        if self._launches_wanted():
            times += [self._launch_after, self.holding.ask_after]
        return min((time for time in times if time > now), default=None)

    # events

    def _dispatch(self, event: e.Event, now: float) -> None:
        match event:
            case e.Create():
                self._on_create(event, now)
            case e.Withdraw(ticket):
                self.waiting = deque(waiting for waiting in self.waiting if waiting.ticket != ticket)
            case e.Ready(sandbox_id):
                self._on_ready(sandbox_id)
            case e.Failed(sandbox_id, words):
                self._on_failed(sandbox_id, words, now)
            case e.Exited(sandbox_id, why):
                sandbox = self.sandboxes.get(sandbox_id)
                if sandbox is not None and sandbox.state is State.WARMING:
                    self._on_failed(sandbox_id, why.value, now)
                elif sandbox is not None:
                    self._end(sandbox, why)
            case e.Ended(sandbox_id):
                sandbox = self.sandboxes.pop(sandbox_id, None)
                if sandbox is not None:
                    self._effects += [e.Answer(asker, True) for asker in sandbox.killers]
                    self.holding.dirty = True
            case e.Kill():
                self._on_kill(event)
            case e.SetTimeout(sandbox_id, asker, seconds, extend):
                running = self.running(sandbox_id)
                if running is not None:
                    running.ends_at = max(now + seconds, running.ends_at if extend else 0.0)
                self._effects.append(e.Answer(asker, running is not None))
            case e.Measured(memory, base_bytes):
                for sandbox_id, found in memory.items():
                    if sandbox_id in self.sandboxes:
                        self.sandboxes[sandbox_id].measured_bytes = found
                self.holding.measured(base_bytes)
            case e.Granted(held):
                self.holding.granted(held)
            case e.Denied(words):
                self.holding.denied(words, now)
            case e.LedgerAway():
                self.holding.away()
            case e.Availability(words):
                self.unavailable = words
            case e.Tick():
                pass
            case e.Shutdown():
                self._close()

    def _on_create(self, event: e.Create, now: float) -> None:
        error = None
        if self._closed:
            error = errors.gateway_stopping()
        elif self.unavailable is not None:
            error = errors.sandboxes_unavailable(self.unavailable)
        elif len(self.waiting) >= self.limits.queue_limit:
            error = errors.creation_queue_full(self.limits.queue_limit)
        if error is not None:
            self._effects.append(e.Refuse(event.ticket, error))
            return
        self.waiting.append(Waiting(event.ticket, event.claim, now))

    def _on_ready(self, sandbox_id: str) -> None:
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is not None and sandbox.state is State.WARMING:
            sandbox.state = State.WARM
            self._failures = 0
            self.launch_failure = None

    def _on_failed(self, sandbox_id: str, words: str, now: float) -> None:
        sandbox = self.sandboxes.get(sandbox_id)
        if sandbox is None or sandbox.state is not State.WARMING:
            return
        self._end(sandbox, Why.LAUNCH_FAILED)
        self.launch_failure = words
        backoff = min(FIRST_BACKOFF_SECONDS * 2**self._failures, LONGEST_BACKOFF_SECONDS)
        self._failures = min(self._failures + 1, 30)
        self._launch_after = now + backoff
        if self.waiting:
            self._effects.append(e.Refuse(self.waiting.popleft().ticket, errors.creation_failed(words)))

    def _on_kill(self, event: e.Kill) -> None:
        running = self.running(event.sandbox_id)
        if running is None:
            if event.asker is not None:
                self._effects.append(e.Answer(event.asker, False))
            return
        if event.asker is not None:
            running.killers.append(event.asker)
        self._end(running, event.why)

    def _close(self) -> None:
        self._closed = True
        self._effects += [e.Refuse(waiting.ticket, errors.gateway_stopping()) for waiting in self.waiting]
        self.waiting.clear()
        for sandbox in self.sandboxes.values():
            self._end(sandbox, Why.SHUTDOWN)

    def _end(self, sandbox: Sandbox, why: Why) -> None:
        if sandbox.state is State.DYING:
            return
        if sandbox.claim is not None:
            self.gone[sandbox.id] = Gone(sandbox.claim.owner, why)
            if len(self.gone) > GONE_REMEMBERED:
                self.gone.popitem(last=False)
        sandbox.state, sandbox.why = State.DYING, why
        self._effects.append(e.Destroy(sandbox.id, why))

    # what has become possible or due

    def _settle(self, now: float) -> None:
        self._claim(now)
        for sandbox in self.sandboxes.values():  # after the claims: one may have been asked for no time at all
            if sandbox.state is State.RUNNING and sandbox.ends_at <= now:
                self._end(sandbox, Why.TIMEOUT)
        self._time_out(now)
        self._launch(now)
        if hold := self.holding.next(self.sandboxes.values(), now, grow=self._launches_wanted()):
            self._effects.append(hold)

    def _claim(self, now: float) -> None:
        warm = [s for s in self.sandboxes.values() if s.state is State.WARM] if self.waiting else []
        for sandbox in warm:
            if not self.waiting:
                return
            first = self.waiting.popleft()
            sandbox.state, sandbox.claim = State.RUNNING, first.claim
            sandbox.started_at, sandbox.ends_at = now, now + first.claim.timeout_seconds
            self._effects.append(e.Grant(first.ticket, sandbox.id))

    def _time_out(self, now: float) -> None:
        wait = self.limits.create_wait_seconds
        while self.waiting and self.waiting[0].since + wait <= now:
            error = errors.creation_timed_out(wait, self._obstacle(), self._retry_after(now))
            self._effects.append(e.Refuse(self.waiting.popleft().ticket, error))

    def _obstacle(self) -> str:
        """What keeps creations waiting, in words."""
        if len(self.sandboxes) >= self.limits.max_count:
            return f"{self.limits.max_count} run already (CAPIBARA6_SANDBOX_MAX_COUNT)."
        if words := self.holding.obstacle(self.sandboxes.values()):
            return words
        return f"the last launch failed: {self.launch_failure}" if self.launch_failure else "they are being launched."

    def _retry_after(self, now: float) -> float:
        ends = [s.ends_at - now for s in self.sandboxes.values() if s.state is State.RUNNING]
        return min(LONGEST_RETRY_AFTER_SECONDS, max(1.0, min(ends, default=5.0)))

    def _launches_wanted(self) -> bool:
        """Whether another launch should begin, but for memory and the pause after a failure."""
        if self._closed or self.unavailable is not None or len(self.sandboxes) >= self.limits.max_count:
            return False
        count = self.count()
        warming = count[State.WARMING]
        if warming < len(self.waiting):
            return warming < LAUNCHES_AT_ONCE
        wanted = len(self.waiting) + self.limits.pool_size
        return warming + count[State.WARM] < wanted and warming - len(self.waiting) < REFILLS_AT_ONCE

    def _launch(self, now: float) -> None:
        while now >= self._launch_after and self._launches_wanted() and self.holding.room(self.sandboxes.values()):
            sandbox = Sandbox(self._new_id(), now)
            self.sandboxes[sandbox.id] = sandbox
            self._effects.append(e.Launch(sandbox.id))
