"""What is known of the request in hand: its run id, trace and principal, wherever in the code it is needed."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass

from wire.ids import uuid7
from wire.principals import ANONYMOUS, LOCAL, Principal
from wire.trace import TraceContext

RUN_ID_HEADER = "x-capibara6-run-id"
TRACE_HEADER = "traceparent"
ON_BEHALF_HEADER = "x-capibara6-on-behalf-of"  # the principal whose request this is, said by a service
PARENT_RUN_HEADER = "x-capibara6-parent-run-id"  # the run that this one was begun by
N8N_EXECUTION_HEADER = "x-capibara6-n8n-execution"  # of an n8n workflow, which asks for this
N8N_WORKFLOW_HEADER = "x-capibara6-n8n-workflow"
_N8N_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class N8nExecution:
    """An execution of a workflow in n8n. workflow_id: None where it was not said."""

    execution_id: str
    workflow_id: str | None = None

    @classmethod
    def told(cls, headers: Mapping[str, str]) -> N8nExecution | None:
        """The one that a request says it comes from; what is no id of n8n's is ignored."""
        execution, workflow = headers.get(N8N_EXECUTION_HEADER, ""), headers.get(N8N_WORKFLOW_HEADER, "")
        if not _N8N_ID.fullmatch(execution):
            return None
        return cls(execution, workflow if _N8N_ID.fullmatch(workflow) else None)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """parent_run_id: the run that the caller says this one belongs to. n8n: the execution that asks for this."""

    run_id: uuid.UUID
    trace: TraceContext
    principal: Principal
    parent_run_id: uuid.UUID | None = None
    n8n: N8nExecution | None = None


_current: ContextVar[RequestContext | None] = ContextVar("capibara6_request", default=None)


def current() -> RequestContext:
    """The request in hand; outside of any, a context of its own."""
    return _current.get() or RequestContext(uuid7(), TraceContext.new(), LOCAL)


def current_or_none() -> RequestContext | None:
    return _current.get()


def enter(context: RequestContext) -> None:
    """Makes `context` current for this task and the tasks it starts."""
    _current.set(context)


def entered(context: RequestContext) -> Token[RequestContext | None]:
    """The same for a while: `left` takes what this returns, and makes current what was."""
    return _current.set(context)


def left(token: Token[RequestContext | None]) -> None:
    try:
        _current.reset(token)
    except ValueError:  # ended by another task than it was entered in: that one's context is its own
        return


def outgoing_headers(context: RequestContext | None = None) -> dict[str, str]:
    """Headers that carry run and trace to the next hop.

    `traceparent` names the span in hand: where the exchange has a span of its own, its client puts that in its place
    (`wire.clients.traced`), and where it has none, what the next hop does is part of the span in hand.
    """
    known, inner = context or current(), _current.get()
    # A step inside the request that `context` tells of is nearer to this call than the request.
    same = inner is not None and inner.trace.trace_id == known.trace.trace_id
    trace = inner.trace if inner is not None and same else known.trace
    return {RUN_ID_HEADER: str(known.run_id), TRACE_HEADER: trace.header}


def on_behalf_headers(context: RequestContext | None = None) -> dict[str, str]:
    """The same, and whose request it is, for a call that a service makes for somebody with its own key.

    Nobody is named where nobody is known by a key of their own (`local`, `anonymous`).
    """
    known = context or current()
    headers = outgoing_headers(known)
    if known.principal not in (LOCAL, ANONYMOUS):
        headers[ON_BEHALF_HEADER] = known.principal.name
    return headers


def child_run_headers(context: RequestContext | None = None) -> dict[str, str]:
    """For a call that makes a run of its own: a new run id, with the current run as its parent."""
    known = context or current()
    return on_behalf_headers(known) | {RUN_ID_HEADER: str(uuid7()), PARENT_RUN_HEADER: str(known.run_id)}
