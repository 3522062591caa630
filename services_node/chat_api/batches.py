"""The flow `code-batch`: pieces of code that are run later, some at a time, by another process."""

from __future__ import annotations

import base64
import uuid
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from db.batches import CANCELLED_BY_CLIENT, KIND
from db.tables import OPEN_STATUSES
from flows.batch_jobs import ASKED, Job, written_jobs
from flows.file_store import NewFile, one_chunk
from services_node.chat_api.code import checked_timeout, given_files
from services_node.chat_api.code_schemas import CodeJob
from services_node.chat_api.parts import Parts
from services_node.chat_api.prepared import Prepared
from services_node.chat_api.provenance import labels
from wire.context import current
from wire.errors import Conflict, ValidationFailed

ASK_SECONDS = 10.0


class BatchRequest(BaseModel):
    model_config = ConfigDict(extra="ignore")

    jobs: Annotated[list[CodeJob], Field(min_length=1)]


async def prepare_batch(parts: Parts, asked: BatchRequest) -> Prepared:
    """Checks the jobs."""
    settings, context = parts.settings, current()
    run_id, owner, tags = context.run_id, context.principal.name, labels()
    if len(asked.jobs) > settings.code_batch_jobs:
        raise ValidationFailed(
            f"A batch has at most {settings.code_batch_jobs} jobs (CAPIBARA6_CODE_BATCH_JOBS).",
            param="jobs",
            code="too_many_jobs",
        )
    data = written_jobs([await _job(job, parts, owner) for job in asked.jobs])

    async def hand_on() -> None:
        new = NewFile(owner, ASKED, "application/json", run_id)
        await parts.files.save(new, one_chunk(data), most_bytes=len(data))
        flow_run_id = await parts.flows.ask(
            lambda api: api.schedule_batch(f"{KIND}/{KIND}", run_id, labels=tags), ASK_SECONDS
        )
        await parts.runs.link_flow(run_id, flow_run_id, recorded=False)

    return Prepared(hand_on)


async def cancel_batch(parts: Parts, run_id: uuid.UUID) -> None:
    """Ends an open batch of the caller's. Raises Conflict for one that has ended.

    Prefect, which stops it, is asked first: while it is away, Unavailable is raised, nothing has changed, and the
    request can be repeated.
    """
    owner = current().principal.name
    run = await parts.runs.get(run_id, owner)
    flow_run_id = run.prefect_flow_run_id
    if run.status in OPEN_STATUSES:
        if flow_run_id is not None:
            await parts.flows.ask(lambda api: api.cancel(flow_run_id), ASK_SECONDS)
        if await parts.batches.close(run_id, "cancelled", code=CANCELLED_BY_CLIENT, detail="The run was cancelled."):
            return
        run = await parts.runs.get(run_id, owner)
        if run.status == "cancelled":  # Prefect's word of it came here first, which does not know who asked
            await parts.batches.cancelled_by_client(run_id)
            return
    raise Conflict(f"Run {run_id} is {run.status} already.", code="run_not_active", param="run_id")


async def _job(job: CodeJob, parts: Parts, owner: str) -> Job:
    """A job as the worker reads it, checked as a single run is."""
    timeout_seconds = checked_timeout(job, parts.settings)
    await given_files(job, parts, owner)
    files = (
        {"name": file.name, "file_id": str(file.file_id)}
        if file.file_id is not None
        else {"name": file.name, "data": base64.b64encode(file.data()).decode()}
        for file in job.files
    )
    return Job(job.code, job.language, timeout_seconds, tuple(files))
