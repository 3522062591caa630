"""Runs under way: each has one owner task, from its first row to its last.

The owner begins the work (a chat turn, a piece of code), writes the run beside it, keeps it within its time, and closes
the run however the work ended. Whoever wants it to stop (client, Prefect, a stopping server) says so here, with the
reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, Protocol

from db.errors import DatabaseUnavailable
from db.records import FinishedRun, NewRun, RunStatus
from flows.errors import CancelCode, cancelled, not_active, parent_cancelled, run_id_in_use, too_many_runs
from flows.link import FlowLink, Outcome, labels_of
from flows.steps import FlowSteps
from flows.work import A, E, Performed, Span, Work
from wire.errors import ApiError, InternalError

log = logging.getLogger("flows.conduct")

QUEUED_EVENTS = 256  # a reader this far behind makes its run wait
BULKY_EVENTS = 64  # of them, such as may wait for their place: those of a text's sound, beside the text itself
# A token that is there before the run's rows (not while Postgres is well: they take a few ms, a model takes more) waits
# for them at most this long, so that "the database is away" can still be the reply's status.
ROWS_GRACE_SECONDS = 0.03
BEGIN_AFTER_SECONDS = 0.001  # lets the model's request leave before the rows take the CPU; both are then under way
FINISH_RETRY_SECONDS = 1.0
CANCELLED_KNOWN = 1000  # of the runs that were cancelled with their children, the last ones
CANCEL_AGAIN_SECONDS = 1.0  # longer than what ends with a run takes to end


@dataclass(frozen=True, slots=True)
class Ended(Generic[A]):
    """The last event of a run. error: None when it completed."""

    status: RunStatus
    error: ApiError | None
    account: A
    total_ms: float


class RunRows(Protocol):
    """What a run writes (`db.turns.Turns`)."""

    async def begin(self, run: NewRun) -> None: ...

    async def finish(self, run: FinishedRun) -> None: ...


class Flows(Protocol):
    """Where flow runs are made (`flows.runner.FlowRunner`)."""

    def attach(self, link: FlowLink) -> None: ...


@dataclass(frozen=True, slots=True)
class RunLimits:
    """at_once: how many runs of each kind may be under way."""

    at_once: Mapping[str, int]
    flow_start_delay_seconds: float
    record_retry_seconds: float


class ActiveRun(Generic[E, A]):
    """A run under way, as its reader sees it. Iterate `events()` when streaming, else await `ended()`."""

    def __init__(self, run: NewRun, *, streaming: bool, with_children: bool = False) -> None:
        self.run = run
        self.with_children = with_children
        self._streaming = streaming
        self._events: asyncio.Queue[E | Ended[A]] = asyncio.Queue(QUEUED_EVENTS)
        self._bulky = asyncio.Semaphore(BULKY_EVENTS)
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        self._over: asyncio.Future[Ended[A]] = loop.create_future()
        self._written: asyncio.Future[None] = loop.create_future()
        self._begun = self._started = self._output_seen = False
        self.attached = False  # its flow run may begin
        self._end_status: RunStatus = "failed"
        self._end_error: ApiError | None = None
        self._performing: asyncio.Task[Performed] | None = None
        self._grace: asyncio.TimerHandle | None = None

    async def opened(self, seconds: float) -> Ended[A] | None:
        """Waits, at most that long, until a reply can begin: the run is written and its first event was told, or output
        has been there for a moment. Returns the end when the run failed before any output, so that its error can
        still be an HTTP status.
        """
        either: list[asyncio.Future[Any]] = [self._opened, self._over]
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return self._over.result() if self._over.done() and not self._output_seen else None

    async def written(self) -> None:
        """Waits until the run's first rows are written, or could not be."""
        await asyncio.shield(self._written)

    def mark_written(self, *, kept: bool) -> None:
        self._written.set_result(None)
        if kept:
            self._note_progress(begun=True)

    async def ended(self) -> Ended[A]:
        return await asyncio.shield(self._over)

    async def events(self, quiet_seconds: float) -> AsyncIterator[E | Ended[A] | None]:
        """Events until `Ended`; None whenever there was none for so long."""
        while True:
            try:
                event = self._events.get_nowait()
            except asyncio.QueueEmpty:
                if self._over.done():  # its end found no place behind what this reader had not taken yet
                    yield self._over.result()
                    return
                try:
                    async with asyncio.timeout(quiet_seconds):
                        event = await self._events.get()
                except TimeoutError:
                    yield None
                    continue
            if getattr(event, "bulky", False):
                self._bulky.release()
            yield event
            if isinstance(event, Ended):
                return

    def stop(self, error: ApiError, status: RunStatus = "cancelled") -> None:
        """Ends the run for this reason, unless it is ending already."""
        if self._end_error is not None or (self._performing is not None and self._performing.done()):
            return
        self._end_error, self._end_status = error, status
        if self._performing is not None:
            self._cancel(self._performing)

    def _cancel(self, performing: asyncio.Task[Performed]) -> None:
        """Again and again until it ends: `asyncio.wait_for` before Python 3.12, by which the sandboxes' SDK reads,
        loses a cancellation that comes together with a chunk.
        """
        if not performing.done():
            performing.cancel()
            asyncio.get_running_loop().call_later(CANCEL_AGAIN_SECONDS, self._cancel, performing)

    def follow(self, performing: asyncio.Task[Performed]) -> None:
        """The work's coroutine is under way; one that was stopped before it began ends at once."""
        self._performing = performing
        if self._end_error is not None:
            self._cancel(performing)

    @property
    def stopped_as(self) -> tuple[RunStatus, ApiError | None]:
        """What `stop` was told."""
        return self._end_status, self._end_error

    def cancel(self, code: CancelCode) -> None:
        self.stop(cancelled(code))

    @property
    def is_awaited(self) -> bool:
        """Whether its first output is being waited for, and has not been for long: its flow run did not begin yet."""
        return not self._output_seen and not self.attached and not self._over.done()

    # flows.work.Sink

    async def put(self, event: E) -> None:
        if event.opens:
            if self._started:
                return  # the second model call of a turn: the reader has had its start
            self._started = True
        if self._streaming:
            if getattr(event, "bulky", False):  # leaves places free, so that no other event waits for it
                await self._bulky.acquire()
            await self._events.put(event)
        self._note_progress(output=not event.opens)

    def _note_progress(self, *, output: bool = False, begun: bool = False) -> None:
        self._begun, self._output_seen = self._begun or begun, self._output_seen or output
        if self._begun and self._started:
            self._open()
        elif output and not self._opened.done() and self._grace is None:
            self._grace = asyncio.get_running_loop().call_later(ROWS_GRACE_SECONDS, self._open)

    def _open(self) -> None:
        if not self._opened.done():
            self._opened.set_result(None)

    def close(self, last: Ended[A]) -> None:
        with contextlib.suppress(asyncio.QueueFull):  # a reader that far behind finds it in `_over`
            self._events.put_nowait(last)
        self._over.set_result(last)


class Conductor:
    """All runs under way in this process."""

    def __init__(
        self,
        rows: RunRows,
        flows: Flows,
        limits: RunLimits,
        observe: Callable[[NewRun, Ended[Any]], None] = lambda _run, _ended: None,
    ) -> None:
        self._rows = rows
        self._flows = flows
        self._limits = limits
        self._observe = observe
        self._active: dict[uuid.UUID, ActiveRun[Any, Any]] = {}
        self._owners: set[asyncio.Task[None]] = set()
        self._cancelled: OrderedDict[uuid.UUID, str] = OrderedDict()  # owners, of those that take their children along
        self._stopping = False

    def active(self, kind: str) -> int:
        return sum(1 for active in self._active.values() if active.run.kind == kind)

    def admit(self, kind: str) -> None:
        """Raises TooManyRequests when no further run of this kind may begin, Unavailable when the server stops."""
        if self._stopping:
            raise cancelled("server_stopping")
        most = self._limits.at_once[kind]
        if self.active(kind) >= most:
            raise too_many_runs(kind, most)

    def begin(self, work: Work[E, A], run: NewRun, *, streaming: bool, with_children: bool = False) -> ActiveRun[E, A]:
        """Begins a run and returns at once. with_children: cancelled, it takes what it asks for along.

        Raises as `admit` does, and Conflict when its run is under way already, or one that was cancelled with its
        children asks for it.
        """
        self.admit(work.kind)
        if run.id in self._active:
            raise run_id_in_use(run.id)
        if run.parent_id is not None and self._cancelled.get(run.parent_id) == run.owner:
            raise parent_cancelled(run.parent_id)
        active: ActiveRun[E, A] = ActiveRun(self._as_its_parent(run), streaming=streaming, with_children=with_children)
        self._active[run.id] = active
        owner = asyncio.create_task(self._own(active, work))
        self._owners.add(owner)
        owner.add_done_callback(self._owners.discard)
        return active

    def _as_its_parent(self, run: NewRun) -> NewRun:
        """The run as its row will have it: from where its parent comes, where that is under way here."""
        active = self._active.get(run.parent_id) if run.parent_id is not None else None
        if active is None or active.run.owner != run.owner:
            return run
        parent = active.run
        return replace(run, origin=parent.origin, n8n_execution_id=run.n8n_execution_id or parent.n8n_execution_id)

    def cancel(self, run_id: uuid.UUID, owner: str) -> ActiveRun[Any, Any]:
        """Cancels a run of this owner. Raises NotFound when none such is under way."""
        active = self._active.get(run_id)
        if active is None or active.run.owner != owner:
            raise not_active(run_id)
        active.cancel("cancelled_by_client")
        return active

    async def written(self, run_id: uuid.UUID) -> None:
        """Waits for the rows of a run whose output may have come before them."""
        active = self._active.get(run_id)
        if active is not None:
            await active.written()

    def of_conversation(self, conversation_id: uuid.UUID) -> list[ActiveRun[Any, Any]]:
        return [active for active in self._active.values() if active.run.conversation_id == conversation_id]

    async def stop(self, seconds: float) -> None:
        """Cancels every run and waits, at most that long, until their runs are closed."""
        self._stopping = True
        for active in self._active.values():
            active.cancel("server_stopping")
        if self._owners:
            await asyncio.wait(self._owners, timeout=seconds)

    async def _own(self, active: ActiveRun[E, A], work: Work[E, A]) -> None:
        run = active.run
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            active.cancel("cancelled_in_prefect")

        link = FlowLink(work.kind, run.id, run.conversation_id, cancel, loop, labels_of(run))

        def attach() -> None:
            if not active.attached:
                active.attached = True
                self._flows.attach(link)

        def attach_if_quiet() -> None:
            """Prefect's engine takes the CPU that others' first tokens need; while one waits, the timer attaches."""
            if not any(other.is_awaited for other in self._active.values() if other is not active):
                attach()

        timers = [
            loop.call_later(self._limits.flow_start_delay_seconds, attach),
            loop.call_later(work.timeout_seconds, lambda: active.stop(work.timed_out(), "failed")),
        ]
        performing = asyncio.create_task(work.perform(active, FlowSteps(link), attach_if_quiet))
        active.follow(performing)
        beginning = asyncio.create_task(self._begin(active))
        try:
            status, error = await _result(active, performing)
            unsaved = await beginning
            if unsaved is not None:
                status, error = "failed", unsaved
            ended_at, total_ms = datetime.now(UTC), work.account.elapsed_ms()
            link.end(_outcome(status, error, ended_at, work.account.mark))
            if active.with_children and status == "cancelled":
                self._stop_children(run)
            if unsaved is None:
                attach()
                record = work.finished(run, status, error, Span(ended_at, total_ms))
                error = await self._finish(record) or error
            elif run.queued:  # its row is there, and must not wait for ever
                record = work.finished(run, status, error, Span(ended_at, total_ms))
                await self._finish(_bare(record, unsaved))
            last: Ended[A] = Ended(status, error, work.account, total_ms)
        finally:
            for timer in timers:
                timer.cancel()
            if self._active.get(run.id) is active:
                del self._active[run.id]
        self._observe(run, last)
        active.close(last)

    def _stop_children(self, parent: NewRun) -> None:
        """n8n goes on when a webhook's caller has gone, and meets this where it waits for or begins a run."""
        self._cancelled[parent.id] = parent.owner
        if len(self._cancelled) > CANCELLED_KNOWN:
            self._cancelled.popitem(last=False)
        for active in self._active.values():
            if active.run.parent_id == parent.id and active.run.owner == parent.owner:
                active.stop(parent_cancelled(parent.id))

    async def _begin(self, active: ActiveRun[Any, Any]) -> ApiError | None:
        """Writes the run's first rows. On failure, ends it: an answer that isn't kept is not given."""
        await asyncio.sleep(BEGIN_AFTER_SECONDS)
        try:
            await self._rows.begin(active.run)
        except ApiError as error:
            failure = error
        except Exception:
            log.exception("a run could not be written")
            failure = InternalError("The run could not be written; the run id finds it in the logs.")
        else:
            active.mark_written(kept=True)
            return None
        active.mark_written(kept=False)
        active.stop(failure, "failed")
        return failure

    async def _finish(self, record: FinishedRun) -> ApiError | None:
        """Closes the run. While the database is away, tries on in the background and returns the error to tell."""
        try:
            await self._rows.finish(record)
        except DatabaseUnavailable as error:
            later = asyncio.create_task(self._finish_later(record))
            self._owners.add(later)
            later.add_done_callback(self._owners.discard)
            return error
        except Exception:
            log.exception("a run could not be closed")
            failure = InternalError("The answer could not be saved; the run id finds it in the logs.", code="not_saved")
            await self._close_bare(record, failure)
            return failure
        return None

    async def _close_bare(self, record: FinishedRun, failure: ApiError) -> None:
        """Closes a run without what was said: whatever the database refused, its row does not stay open."""
        try:
            await self._rows.finish(_bare(record, failure))
        except Exception:
            log.exception("a run stays open")

    async def _finish_later(self, record: FinishedRun) -> None:
        try:
            async with asyncio.timeout(self._limits.record_retry_seconds):
                while not self._stopping:
                    await asyncio.sleep(FINISH_RETRY_SECONDS)
                    try:
                        return await self._rows.finish(record)
                    except DatabaseUnavailable:
                        continue
        except TimeoutError:
            log.error("a finished run was never written", extra={"run": str(record.id)})


def _bare(record: FinishedRun, failure: ApiError) -> FinishedRun:
    return replace(
        record, status="failed", content="", complete=False, steps=(), tool_calls=(),
        error_code=failure.code, error_detail=failure.detail,
    )  # fmt: skip


async def _result(
    active: ActiveRun[Any, Any], performing: asyncio.Task[Performed]
) -> tuple[RunStatus, ApiError | None]:
    try:
        result = await performing
    except asyncio.CancelledError:
        if not performing.cancelled():
            raise  # this owner itself is being ended
        return active.stopped_as
    except Exception:
        log.exception("a run failed unexpectedly")
        return "failed", InternalError("The run failed unexpectedly; the run id finds it in the logs.")
    return result.status, result.error


def _outcome(status: RunStatus, error: ApiError | None, ended_at: datetime, mark: str | None) -> Outcome:
    message = f"{error.code}: {error.detail}" if error else "The run ended well."
    return Outcome(status, message, ended_at, name=mark if status == "completed" else None)
