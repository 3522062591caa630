"""A batch under way: what its calls carry, and the span that they are part of. For flows in a process of their own."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from prefect.client.schemas.objects import State

from db.batches import Begun
from wire import telemetry
from wire.context import RequestContext, enter
from wire.principals import Principal
from wire.trace import TraceContext


def context_of(begun: Begun) -> RequestContext:
    """What its calls to others carry: the run and trace of the request that asked for it."""
    return RequestContext(begun.id, TraceContext(begun.trace_id, TraceContext.new().span_id), Principal(begun.owner))


async def traced(kind: str, begun: Begun, run: Callable[[RequestContext], Awaitable[State[None]]]) -> State[None]:
    """Runs it, with a span of its own for its steps and calls to be part of."""
    context, began_ns = context_of(begun), time.time_ns()
    enter(context)
    error: str | None = "exception"
    try:
        state = await run(context)
        error = None if state.is_completed() else state.type.value.lower()
        return state
    finally:
        run_id = {"capibara6.run_id": str(begun.id)}
        telemetry.record(
            kind, context.trace, parent=None, kind="internal", began_ns=began_ns, attributes=run_id, error=error
        )
