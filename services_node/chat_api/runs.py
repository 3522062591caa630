"""`/api/runs`: what was asked, how it went, and stopping it."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request

from db.batches import KIND
from db.records import RunStatus
from services_node.chat_api.batches import cancel_batch
from services_node.chat_api.paging import decode_cursor, page
from services_node.chat_api.parts import Parts, owner, parts_of
from services_node.chat_api.schemas import RunOut, RunPage, RunWithSteps
from wire.errors import Conflict, NotFound

router = APIRouter(prefix="/api/runs", tags=["runs"])


@router.get("")
async def runs(
    request: Request,
    status: RunStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: str | None = None,
) -> RunPage:
    """Newest first."""
    found = await parts_of(request).runs.page(owner(), limit=limit + 1, status=status, before=decode_cursor(cursor))
    shown, following = page(found, limit, lambda one: (one.created_at, one.id))
    return RunPage(runs=[RunOut.of(one) for one in shown], next_cursor=following)


@router.get("/{run_id}")
async def run(run_id: uuid.UUID, request: Request) -> RunWithSteps:
    """A run's whole story."""
    parts = parts_of(request)
    await parts.conductor.written(run_id)
    return await _story(parts, run_id)


@router.post("/{run_id}/cancel")
async def cancel(run_id: uuid.UUID, request: Request) -> RunWithSteps:
    """Stops a run that is under way and returns it as it ended. 409 for one that had ended already."""
    parts = parts_of(request)
    try:
        active = parts.conductor.cancel(run_id, owner())
    except NotFound:
        found = await parts.runs.get(run_id, owner())
        if found.kind == KIND:
            await cancel_batch(parts, run_id)
            return await _story(parts, run_id)
        raise Conflict(f"Run {run_id} is {found.status} already.", code="run_not_active", param="run_id") from None
    await active.ended()
    return await _story(parts, run_id)


async def _story(parts: Parts, run_id: uuid.UUID) -> RunWithSteps:
    run = await parts.runs.get(run_id, owner())
    return RunWithSteps.of_parts(run, await parts.runs.steps(run_id), await parts.file_rows.of_run(run_id, owner()))
