"""A batch under way: what it works with, its run's row, and the span that its calls are part of.

For flows in a process of their own, which the flow worker starts: what it is given is the run's id alone, and what it
was asked stands in a file of that run. A flow run without one (the clock's, or somebody's in Prefect's pages) gets a
row here. A process that is ended without anybody having cancelled its flow run says nothing of it: the next worker
goes on with the batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from prefect._internal.control_listener import get_intent
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from db.batches import Batches, Begun, NewScheduled
from db.engine import Database
from db.errors import DatabaseUnavailable
from db.files import Files
from db.records import OwnedRun, RunStatus
from db.runs import Runs
from db.turns import Turns
from db.urls import database_url
from flows.file_store import FileStore
from flows.shown import tag_run
from flows.work import Account, Span, finished_run
from stack.processes import stack_id
from stack.secrets import Secrets, load_secrets
from stack.settings import Settings, get_settings
from wire import telemetry
from wire.context import RequestContext, enter
from wire.errors import ApiError, InternalError
from wire.ids import uuid7
from wire.principals import Principal
from wire.trace import TraceContext

log = logging.getLogger("flows.batch_runs")

SERVICE = "flow-worker"  # whose process this is
RETRY_SECONDS = 1.0
LAST_WORD_SECONDS = 5.0  # of a process that is being ended
_PR_SET_PDEATHSIG = 1  # prctl(2)

T = TypeVar("T")


class RunClosed(Exception):
    """Somebody ended the run in our rows (a cancellation), or another process has it, while this one went on."""


class BatchRun:
    """What every batch works with, made in its own process. failure: what it ended with, where it failed."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self.settings = settings
        self.database = Database(database_url(settings, secrets))
        self.rows, self.runs = Batches(self.database), Runs(self.database)
        self._turns = Turns(self.database)
        self.file_rows = Files(self.database)
        self.files = FileStore(settings.home, self.file_rows, owner_bytes=settings.owner_files_bytes)
        self.failure: ApiError | None = None

    async def file_named(self, begun: Begun, name: str) -> bytes | None:
        """A file of its run, by its name."""
        for file in await self.file_rows.of_run(begun.id, begun.owner):
            if file.name == name:
                _, path = await self.files.find(file.id, begun.owner)
                return await asyncio.to_thread(path.read_bytes)
        return None

    async def persistently(self, effect: Callable[[], Awaitable[T]]) -> T:
        """The effect, again and again while the database is away, for as long as a turn's end would be tried."""
        return await persistently(effect, self.settings.record_retry_seconds)

    async def finish(self, begun: Begun, account: Account, error: ApiError | None) -> None:
        """Closes the run's row, unless somebody did."""
        self.failure = error
        status: RunStatus = "failed" if error else "completed"
        span = Span(datetime.now(UTC), account.elapsed_ms())
        run = finished_run(OwnedRun(begun.id, begun.owner, None), account, status, error, span)
        await self.persistently(lambda: self._turns.finish(run))

    async def close(self) -> None:
        await self.database.close()


async def persistently(effect: Callable[[], Awaitable[T]], seconds: float) -> T:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await effect()
        except DatabaseUnavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(RETRY_SECONDS)


B = TypeVar("B", bound=BatchRun)
A = TypeVar("A", bound=Account)


async def perform(
    kind: str,
    make: Callable[[Settings, Secrets], B],
    run_id: str | None,
    run: Callable[[B, Begun, RequestContext], Awaitable[State[None]]],
) -> State[None]:
    """A batch from its beginning to its end, whatever that is: its row begun, its work in a span, all closed.

    run_id: None for a flow run that no request stands behind; its row is written first.
    """
    end_with_parent()
    telemetry.start(SERVICE)  # before its clients are made, which ask whether they are to be traced
    settings = get_settings()
    batch = make(settings, load_secrets(settings))
    try:
        begun = await persistently(lambda: _begun(kind, batch, run_id), settings.record_retry_seconds)
        if not isinstance(begun, Begun):
            return await _ended_before(batch, begun)
        if run_id is None:
            await tag_run(begun.id)
        return await _traced(kind, begun, lambda context: run(batch, begun, context))
    except BaseException as error:
        if isinstance(error, Exception):
            raise
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await _end_now(batch, run_id)
        raise
    finally:
        await batch.close()
        if telemetry.on():
            await asyncio.to_thread(telemetry.stop)


async def _begun(kind: str, batch: BatchRun, run_id: str | None) -> Begun | uuid.UUID:
    """The run that is begun; the id of one that is not waiting any more."""
    of_prefect = uuid.UUID(flow_run.id) if flow_run.id else None
    if run_id is None:
        known = await batch.rows.scheduled(scheduled_run(kind, batch.settings, of_prefect or uuid7()))
    else:
        known = uuid.UUID(run_id)
    return await batch.rows.begin(known, of_prefect) or known


def scheduled_run(kind: str, settings: Settings, flow_run_id: uuid.UUID) -> NewScheduled:
    """Whose a run is that nobody asked for: on a machine of one user, that user's; else the operators'."""
    return NewScheduled(
        id=uuid7(),
        owner="local" if settings.profile == "local" else "operator",
        kind=kind,
        trace_id=TraceContext.new().trace_id,
        stack_id=stack_id(settings),
        instance_id=flow_run_id,
        flow_run_id=flow_run_id,
    )


def context_of(begun: Begun) -> RequestContext:
    """What its calls to others carry: the run and trace of the request that asked for it."""
    return RequestContext(begun.id, TraceContext(begun.trace_id, TraceContext.new().span_id), Principal(begun.owner))


def account_since(account: A, begun: Begun) -> A:
    """The account of a batch that an earlier worker began, counted from there."""
    if begun.resumed and begun.started_at is not None:
        account.started -= max(0.0, (account.started_at - begun.started_at).total_seconds())
        account.started_at = begun.started_at
    return account


async def carried_out(
    batch: BatchRun, begun: Begun, account: Account, work: Callable[[], Awaitable[str]]
) -> State[None]:
    """Does it, and closes the run as it ended. work: returns what was done, in a sentence."""
    failure: ApiError | None = None
    said = ""
    try:
        said = await work()
    except RunClosed as closed:
        return Cancelled(message=str(closed) or "The run was closed.")
    except ApiError as error:
        failure = error
    except Exception as error:
        log.exception("a flow of ours failed", extra={"run": str(begun.id)})
        failure = InternalError(f"{type(error).__name__}: {error}. The run's id finds it in the logs.")
    await batch.finish(begun, account, failure)
    if failure is not None:
        return Failed(message=f"{failure.code}: {failure.detail}")
    return Completed(message=said, name=account.mark) if account.mark else Completed(message=said)


async def _ended_before(batch: BatchRun, run_id: uuid.UUID) -> State[None]:
    """The state of a flow run whose run has ended in our rows already."""
    status = await batch.rows.status(run_id)
    if status == "completed":
        return Completed(message="It had ended before this worker came to it.")
    if status in {"failed", "crashed"}:
        return Failed(message=f"It had {status} before this worker came to it.")
    return Cancelled(message="It was not waiting any more.")


async def _end_now(batch: BatchRun, run_id: str | None) -> None:
    """The process is told to end: because its flow run was cancelled, or for a reason that is none of the batch's (a
    worker that stops). Of the latter Prefect is told nothing, lest it take the flow run for crashed."""
    if get_intent() == "cancel":
        of_prefect = uuid.UUID(flow_run.id) if flow_run.id else None
        await batch.rows.cancelled(uuid.UUID(run_id) if run_id else None, of_prefect)
        return
    try:
        await batch.close()
    finally:
        os._exit(0)


def end_with_parent() -> None:
    """This process is told to end when the worker that started it is gone, however that went."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _traced(kind: str, begun: Begun, run: Callable[[RequestContext], Awaitable[State[None]]]) -> State[None]:
    context, began_ns = context_of(begun), time.time_ns()
    enter(context)
    error: str | None = "exception"
    try:
        state = await run(context)
        error = None if state.is_completed() else state.type.value.lower()
        return state
    finally:
        about = {"capibara6.run_id": str(begun.id)}
        telemetry.record(
            kind, context.trace, parent=None, kind="internal", began_ns=began_ns, attributes=about, error=error
        )
