"""`/api/runs`: what was asked, how it went, and stopping it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator

from db.records import RunFilter, RunOrigin, RunRecord, RunStatus
from db.runs import BATCHES, CHAT_BATCH
from flows.workflows import KIND as WORKFLOW
from services_node.chat_api.batches import cancel_batch
from services_node.chat_api.hooks.events import response_of
from services_node.chat_api.paging import decode_cursor, page, within
from services_node.chat_api.parts import Parts, owner, parts_of
from services_node.chat_api.run_schemas import RunOut, RunPage, RunStory
from services_node.chat_api.schemas import MAX_MESSAGES, Line
from wire.errors import Conflict, NotFound

router = APIRouter(prefix="/api/runs", tags=["runs"])

MOST_CHILDREN = 200


def moment(value: datetime) -> datetime:
    if not within(value):
        raise ValueError("is not a moment with its time zone, as 2026-01-31T12:00:00Z")
    return value


Moment = Annotated[datetime, AfterValidator(moment)]


@router.get("")
async def runs(
    request: Request,
    *,
    kind: Annotated[Line | None, Query(max_length=50)] = None,
    status: RunStatus | None = None,
    model: Annotated[Line | None, Query(max_length=200)] = None,
    conversation_id: uuid.UUID | None = None,
    parent_id: uuid.UUID | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    origin: RunOrigin | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> RunPage:
    """Newest first. `model`: the one that answered. `since` (itself included) and `until` (not): when it was made."""
    wanted = RunFilter(kind, status, model, conversation_id, parent_id, since, until, origin)
    found = await parts_of(request).runs.page(owner(), limit=limit + 1, wanted=wanted, before=decode_cursor(cursor))
    shown, following = page(found, limit, lambda one: (one.created_at, one.id))
    return RunPage(runs=[RunOut.of(one) for one in shown], next_cursor=following)


@router.get("/{run_id}")
async def run(run_id: uuid.UUID, request: Request) -> RunStory:
    """A run's whole story."""
    parts = parts_of(request)
    await parts.conductor.written(run_id)
    return await _story(parts, run_id)


@router.post("/{run_id}/cancel")
async def cancel(run_id: uuid.UUID, request: Request) -> RunStory:
    """Stops a run that is under way and returns it as it ended. 409 for one that had ended already."""
    parts = parts_of(request)
    try:
        active = parts.conductor.cancel(run_id, owner())
    except NotFound:
        found = await parts.runs.get(run_id, owner())
        if found.kind in BATCHES:
            await cancel_batch(parts, run_id)
            return await _story(parts, run_id)
        raise Conflict(f"Run {run_id} is {found.status} already.", code="run_not_active", param="run_id") from None
    await active.ended()
    return await _story(parts, run_id)


async def _story(parts: Parts, run_id: uuid.UUID) -> RunStory:
    run = await parts.runs.get(run_id, owner())
    children = await parts.runs.page(
        owner(), limit=MOST_CHILDREN, wanted=RunFilter(parent_id=run_id), oldest_first=True
    )
    run = _in_n8n(run, children)
    steps = await parts.runs.steps(run_id)
    messages = (
        await parts.conversations.messages_of_run(run.conversation_id, owner(), run_id, limit=MAX_MESSAGES + 1)
        if run.conversation_id is not None
        else []
    )
    return RunStory.of_parts(
        run,
        steps,
        await parts.file_rows.of_run(run_id, owner()),
        children,
        messages,
        response=response_of(messages, steps),
        links=parts.pages.links(run),
        callbacks=await parts.hooks.callbacks(run_id),
        items=await parts.batch_items.counts(run_id) if run.kind == CHAT_BATCH else None,
    )


def _in_n8n(run: RunRecord, children: Sequence[RunRecord]) -> RunRecord:
    """A run of a workflow learns which execution it began from what that asked for: n8n's answer does not say."""
    told = next((child for child in children if child.n8n_execution_id is not None), None)
    if run.kind != WORKFLOW or run.n8n_execution_id is not None or told is None:
        return run
    return replace(run, n8n_execution_id=told.n8n_execution_id, n8n_workflow_id=told.n8n_workflow_id)
