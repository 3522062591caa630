"""What is known of the request in hand: its run id, trace and principal, wherever in the code it is needed."""

from __future__ import annotations

import uuid
from contextvars import ContextVar
from dataclasses import dataclass

from wire.ids import uuid7
from wire.principals import LOCAL, Principal
from wire.trace import TraceContext

RUN_ID_HEADER = "x-capibara6-run-id"
TRACE_HEADER = "traceparent"


@dataclass(frozen=True, slots=True)
class RequestContext:
    run_id: uuid.UUID
    trace: TraceContext
    principal: Principal


_current: ContextVar[RequestContext | None] = ContextVar("capibara6_request", default=None)


def current() -> RequestContext:
    """The request in hand; outside of any, a context of its own."""
    return _current.get() or RequestContext(uuid7(), TraceContext.new(), LOCAL)


def current_or_none() -> RequestContext | None:
    return _current.get()


def enter(context: RequestContext) -> None:
    """Makes `context` current for this task and the tasks it starts."""
    _current.set(context)


def outgoing_headers(context: RequestContext | None = None) -> dict[str, str]:
    """Headers that carry run and trace to the next hop, as a new span."""
    known = context or current()
    return {RUN_ID_HEADER: str(known.run_id), TRACE_HEADER: known.trace.child().header}
