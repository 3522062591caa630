"""The flow `workflow`: a workflow of the stack's own n8n, begun by its webhook."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from db.records import NewRun
from flows.workflows import KIND, WorkflowRequest, WorkflowWork
from services_node.chat_api.parts import Parts
from services_node.chat_api.prepared import Prepared
from services_node.chat_api.provenance import provenance
from services_node.chat_api.schemas import Number, Text
from wire.context import current
from wire.errors import ValidationFailed

_PATH = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")


def webhook_path(text: str) -> str:
    """A webhook's path as its node has it, without a slash around it."""
    path = text.strip("/")
    if not _PATH.fullmatch(path):
        raise ValueError("is the path of a webhook: letters, digits, `_`, `-`, and `/` between them")
    return path


class WorkflowFlowRequest(BaseModel):
    """path: of the webhook node, which must take POST and answer with JSON. body: what it is sent."""

    model_config = ConfigDict(extra="ignore")

    path: Annotated[Text, Field(max_length=200), AfterValidator(webhook_path)]
    body: JsonValue = Field(default_factory=dict)
    timeout_seconds: Annotated[Number, Field(gt=0)] | None = None


async def prepare_workflow(parts: Parts, asked: WorkflowFlowRequest) -> Prepared:
    """Raises ValidationFailed, TooManyRequests."""
    settings, context = parts.settings, current()
    timeout_seconds = asked.timeout_seconds or settings.workflow_timeout_seconds
    if timeout_seconds > settings.workflow_max_timeout_seconds:
        raise ValidationFailed(
            f"`timeout_seconds` is at most {settings.workflow_max_timeout_seconds:g} "
            "(CAPIBARA6_WORKFLOW_MAX_TIMEOUT_SECONDS).",
            param="timeout_seconds",
            code="timeout_too_long",
        )
    body = _sendable(asked.body)
    parts.conductor.admit(KIND)
    run_id, owner = context.run_id, context.principal.name
    run = NewRun(
        id=run_id,
        owner=owner,
        kind=KIND,
        conversation_id=None,
        new_conversation=False,
        title="",
        trace_id=context.trace.trace_id,
        stack_id=parts.stack_id,
        instance_id=parts.instance_id,
        requested_model=None,
        messages=(),
        parent_id=context.parent_run_id,
        queued=True,
        **provenance("api"),
    )
    request = WorkflowRequest(context, owner, asked.path, body, timeout_seconds)

    async def begin() -> None:
        work = WorkflowWork(
            request,
            parts.workflows,
            parts.files,
            lambda: parts.conductor.written(run_id),
            file_bytes=settings.workflow_answer_bytes * 2,  # as it is kept: written anew, with spaces
        )
        parts.conductor.begin(work, run, streaming=False, with_children=True)

    return Prepared(begin)


def _sendable(body: Any) -> Any:
    """Raises ValidationFailed for numbers that JSON doesn't have, and halves of characters."""
    try:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        raise ValidationFailed("`body` holds what JSON cannot say.", param="body", code="invalid_body") from None
    return body
