"""A batch under way: what it works with, its run's row, and the span that its calls are part of.

For flows in a process of their own, which the flow worker starts: what it is given is the run's id alone, and what it
was asked stands in a file of that run.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled

from db.batches import Batches, Begun
from db.engine import Database
from db.files import Files
from db.records import OwnedRun, RunStatus
from db.turns import Turns
from db.urls import database_url
from flows.file_store import FileStore
from flows.work import Account, Span, finished_run
from stack.secrets import Secrets, load_secrets
from stack.settings import Settings, get_settings
from wire import telemetry
from wire.context import RequestContext, enter
from wire.errors import ApiError
from wire.principals import Principal
from wire.trace import TraceContext

SERVICE = "flow-worker"  # whose process this is


class BatchRun:
    """What every batch works with, made in its own process."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        self.settings = settings
        self.database = Database(database_url(settings, secrets))
        self.rows, self._turns = Batches(self.database), Turns(self.database)
        self._file_rows = Files(self.database)
        self.files = FileStore(settings.home, self._file_rows, owner_bytes=settings.owner_files_bytes)

    async def file_named(self, begun: Begun, name: str) -> bytes | None:
        """A file of its run, by its name."""
        for file in await self._file_rows.of_run(begun.id, begun.owner):
            if file.name == name:
                _, path = await self.files.find(file.id, begun.owner)
                return await asyncio.to_thread(path.read_bytes)
        return None

    async def finish(self, begun: Begun, account: Account, error: ApiError | None) -> None:
        """Closes the run's row, unless somebody did."""
        status: RunStatus = "failed" if error else "completed"
        span = Span(datetime.now(UTC), account.elapsed_ms())
        await self._turns.finish(finished_run(OwnedRun(begun.id, begun.owner, None), account, status, error, span))

    async def close(self) -> None:
        await self.database.close()


B = TypeVar("B", bound=BatchRun)


async def perform(
    kind: str,
    make: Callable[[Settings, Secrets], B],
    run_id: str,
    run: Callable[[B, Begun, RequestContext], Awaitable[State[None]]],
) -> State[None]:
    """A batch from its beginning to its end, whatever that is: its row begun, its work in a span, all closed."""
    telemetry.start(SERVICE)  # before its clients are made, which ask whether they are to be traced
    settings = get_settings()
    batch = make(settings, load_secrets(settings))
    try:
        of_prefect = uuid.UUID(flow_run.id) if flow_run.id else None
        begun = await batch.rows.begin(uuid.UUID(run_id), of_prefect)
        if begun is None:
            return Cancelled(message="It was not waiting any more.")
        return await _traced(kind, begun, lambda context: run(batch, begun, context))
    finally:
        await batch.close()
        if telemetry.on():
            await asyncio.to_thread(telemetry.stop)


def context_of(begun: Begun) -> RequestContext:
    """What its calls to others carry: the run and trace of the request that asked for it."""
    return RequestContext(begun.id, TraceContext(begun.trace_id, TraceContext.new().span_id), Principal(begun.owner))


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
