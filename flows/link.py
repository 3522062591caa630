"""What a turn (on the API's event loop) and its flow run (on the flow thread's loop) say to each other.

The turn never waits for the flow: it asks for a step to be run as a task only when the flow run stands, and says once
how it ended. The flow waits for the turn. Neither imports Prefect here.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from db.records import RunOrigin, RunStatus

T = TypeVar("T")


class Told(Protocol):
    """A run that says where it comes from (`db.records.NewRun`, `RunRecord`)."""

    @property
    def origin(self) -> RunOrigin: ...

    @property
    def n8n_execution_id(self) -> str | None: ...


def labels_of(run: Told) -> tuple[str, ...]:
    """The tags by which Prefect shows where a run comes from."""
    execution = (f"n8n:{run.n8n_execution_id}",) if run.n8n_execution_id else ()
    return (f"origin:{run.origin}", *execution)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the turn ended, as Prefect shows it. name: of a completed state that has one of its own."""

    status: RunStatus
    message: str
    ended_at: datetime
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Retries:
    """How often an effect that failed is tried again, and when that makes sense. Only for what may be repeated."""

    most: int
    worth: Callable[[BaseException], bool]
    delay_seconds: float = 0.3


NO_RETRIES = Retries(0, lambda _: False)


@dataclass(slots=True)
class StepJob(Generic[T]):
    """A step on its way to the flow. `begun`: the effect may have been done already. `result` is the turn's loop's.
    failure: of an attempt that is to be followed by another."""

    name: str
    effect: Callable[[], Awaitable[T]]
    home: asyncio.AbstractEventLoop
    result: asyncio.Future[T]
    retries: Retries = NO_RETRIES
    begun: bool = False
    attempts: int = 0
    failure: BaseException | None = None

    async def on_flow_loop(self) -> None:
        """Runs the effect at home and waits for it here. Raises what it raised, for the task's state."""
        try:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._at_home(), self.home))
        except asyncio.CancelledError:
            if self.result.cancelled():  # the turn's own wish, not this task's end
                raise StepCancelled("The turn was cancelled.") from None
            raise

    async def _at_home(self) -> None:
        if self.result.done():
            raise StepRefused  # the turn was cancelled meanwhile
        self.begun = True
        self.attempts += 1
        self.failure = None
        work = asyncio.ensure_future(self.effect())
        self.result.add_done_callback(lambda _: work.cancel())
        try:
            value = await work
        except BaseException as error:
            if self.attempts <= self.retries.most and self.retries.worth(error):
                self.failure = error  # the task's next attempt, or `give_up`, settles it
            elif not self.result.done():
                self.result.set_exception(error)
            raise
        if not self.result.done():
            self.result.set_result(value)

    def give_up(self) -> None:
        """The flow can't run it (it ended, Prefect failed): the turn does it itself unless it has begun."""
        self.home.call_soon_threadsafe(self._refuse)

    def _refuse(self) -> None:
        if self.result.done():
            return
        if not self.begun:
            self.result.set_exception(StepRefused())
        elif self.failure is not None:
            self.result.set_exception(self.failure)

    def again(self) -> bool:
        """Whether the attempt that just failed is to be followed by another."""
        return self.failure is not None and not self.result.done()


class StepCancelled(Exception):
    """The turn was cancelled while the flow ran its step."""


class StepRefused(Exception):
    """The flow run could not take a step; nothing of it was done."""


async def run_here(effect: Callable[[], Awaitable[T]], retries: Retries) -> T:
    """The effect, tried as often as it may be."""
    for _ in range(retries.most):
        try:
            return await effect()
        except Exception as error:
            if not retries.worth(error):
                raise
            await asyncio.sleep(retries.delay_seconds)
    return await effect()


@dataclass(slots=True)
class FlowLink:
    """One run's link. cancel: called on the run's loop when the flow run is cancelled in Prefect. labels: its tags."""

    kind: str
    run_id: uuid.UUID
    conversation_id: uuid.UUID | None
    cancel: Callable[[], None]
    home: asyncio.AbstractEventLoop
    labels: tuple[str, ...] = ()
    ended: concurrent.futures.Future[Outcome] = field(default_factory=concurrent.futures.Future)
    flow_run_id: uuid.UUID | None = None
    _jobs: asyncio.Queue[StepJob[Any] | None] | None = None
    _flow_loop: asyncio.AbstractEventLoop | None = None

    # the turn's side

    async def run_step(self, name: str, effect: Callable[[], Awaitable[T]], retries: Retries = NO_RETRIES) -> T:
        """Runs the effect as a task of the flow run when it stands, else here and now."""
        job: StepJob[T] = StepJob(name, effect, self.home, self.home.create_future(), retries)
        if not self._tell_flow(job):
            return await run_here(effect, retries)
        try:
            return await job.result
        except StepRefused:
            return await run_here(effect, retries)

    def end(self, outcome: Outcome) -> None:
        """The turn has ended. Said once."""
        if not self.ended.done():
            self.ended.set_result(outcome)
            self._tell_flow(None)

    def _tell_flow(self, job: StepJob[Any] | None) -> bool:
        """False when there is no flow run to tell."""
        loop = self._flow_loop
        if loop is None:
            return False
        try:
            loop.call_soon_threadsafe(self._offer, job)
        except RuntimeError:  # the flow thread's loop is closed
            return False
        return True

    # the flow's side

    def _offer(self, job: StepJob[Any] | None) -> None:
        if self._jobs is not None:
            self._jobs.put_nowait(job)
        elif job is not None:  # the flow run ended while the job was on its way
            job.give_up()

    async def attend(self) -> AsyncIterator[StepJob[Any]]:
        """The steps to run, as they come, until the turn has ended."""
        jobs: asyncio.Queue[StepJob[Any] | None] = asyncio.Queue()
        self._jobs, self._flow_loop = jobs, asyncio.get_running_loop()
        try:
            while not self.ended.done():
                job = await jobs.get()
                if job is not None:
                    yield job
        finally:
            self._jobs = self._flow_loop = None
            while not jobs.empty():
                waiting = jobs.get_nowait()
                if waiting is not None:
                    waiting.give_up()

    async def outcome(self) -> Outcome:
        return await asyncio.wrap_future(self.ended)
