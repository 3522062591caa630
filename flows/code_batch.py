"""The Prefect flow `code-batch`: pieces of code, one after the other, each in a sandbox of its own.

It runs in a process that the flow worker starts for it, so it makes what it works with itself. What it was asked stands
in a file of its run (`batch.json`): Prefect is given the run's id alone.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from db.batches import KIND, Begun
from db.errors import DatabaseUnavailable
from db.records import FileRecord, RunStatus, StepRecord
from flows.batch_jobs import ASKED, Job, read_jobs
from flows.batch_runs import BatchRun, account_since, perform
from flows.code import CODE_ERROR, CodeRequest, CodeTools, CodeWork, ConversationTurns, GivenFile
from flows.code_events import CodeAccount, CodeEvent, CodeLimits
from flows.code_told import account_told
from flows.errors import batch_failed, job_failed
from flows.file_store import FileStore, NewFile, one_chunk
from flows.sandboxes import E2BSandboxes, connection
from flows.shown import name_run, show_failure, show_table
from flows.steps import PlainSteps
from flows.work import Account, Performed
from stack.processes import stack_id
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import keys_needed, load_topology
from wire.context import RequestContext
from wire.errors import ApiError
from wire.ids import uuid7

log = logging.getLogger("flows.code_batch")


class Silence:
    """Nobody listens to a batch while it runs."""

    async def put(self, event: CodeEvent) -> None:
        return


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The files of one job, named after it."""

    store: FileStore
    number: int

    async def save(self, file: NewFile, chunks: AsyncIterator[bytes], *, most_bytes: int) -> FileRecord:
        named = replace(file, name=f"job-{self.number}/{file.name}")
        return await self.store.save(named, chunks, most_bytes=most_bytes)


class CodeBatch(BatchRun):
    """One batch at work."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        super().__init__(settings, secrets)
        key = secrets.services_key.get_secret_value() if keys_needed(settings, "sandbox-gateway") else None
        self.sandboxes = E2BSandboxes(
            connection(os.environ, settings, key), stack_id(settings), settings.code_sandbox_wait_seconds
        )
        self.chat_url = load_topology(settings).url("chat-api")

    async def jobs(self, begun: Begun) -> list[Job]:
        data = await self.file_named(begun, ASKED)
        if data is None:
            raise batch_failed("What was asked is not there any more.")
        return read_jobs(data)

    async def work(self, begun: Begun, job: Job, number: int) -> tuple[Performed, CodeAccount]:
        """Runs one job and keeps what it said as a file of the run."""
        given = [
            GivenFile(file["name"], base64.b64decode(file["data"]))
            if "data" in file
            else GivenFile(file["name"], (await self.files.find(uuid.UUID(file["file_id"]), begun.owner))[1])
            for file in job.files
        ]
        request = CodeRequest(
            run_id=begun.id,
            owner=begun.owner,
            conversation_id=None,
            code=job.code,
            language=job.language,
            files=tuple(given),
            timeout_seconds=job.timeout_seconds,
        )
        limits = CodeLimits.of(self.settings)
        tools = CodeTools(self.sandboxes, JobFiles(self.files, number), ConversationTurns(), limits)
        done = CodeWork(request, tools, _nothing)
        ended = await done.perform(Silence(), PlainSteps(), lambda: None)
        told = account_told(done.account) | {"failed": ended.error.detail if ended.error else None}
        data = json.dumps(told, ensure_ascii=False).encode()
        new = NewFile(begun.owner, f"job-{number}.json", "application/json", begun.id)
        await self.files.save(new, one_chunk(data), most_bytes=len(data))
        return ended, done.account

    async def is_open(self, begun: Begun) -> bool:
        """Whether the batch is still wanted. A database that is away says nothing against it."""
        try:
            return await self.rows.is_open(begun.id)
        except DatabaseUnavailable:
            return True

    async def done(self, begun: Begun) -> list[StepRecord]:
        """The jobs that an earlier process had run."""
        return await self.runs.steps(begun.id)

    async def note(self, begun: Begun, step: StepRecord, position: int) -> None:
        """Writes a job's step at once: a process that takes over knows by it what was run. A database that is away gets
        it at the end."""
        with suppress(DatabaseUnavailable):
            await self.rows.note_step(begun.id, begun.owner, step, position=position)

    async def close(self) -> None:
        await self.sandboxes.stop(self.settings.graceful_stop_seconds)
        await super().close()


@flow(name=KIND, persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def code_batch(run_id: str) -> State[None]:
    """Runs the jobs of a batch. Code that fails is a job that was run; the batch fails when a sandbox does. What an
    earlier process had run is not run again."""
    return await perform(KIND, CodeBatch, run_id, _run)


async def _run(batch: CodeBatch, begun: Begun, _context: RequestContext) -> State[None]:
    account = account_since(Account(), begun)
    try:
        jobs = await batch.jobs(begun)
        if begun.resumed:
            account.steps += await batch.done(begun)
    except ApiError as error:
        await batch.finish(begun, account, error)
        await show_failure(KIND, begun.id, error, batch.chat_url)
        return Failed(message=error.detail)
    await name_run(f"code-batch, {len(jobs)} jobs")
    done = {step.name for step in account.steps}
    for number, job in enumerate(jobs, start=1):
        if job_name(number) in done:
            continue
        if not await batch.is_open(begun):
            return Cancelled(message=f"The run was closed before job {number}.")
        account.steps.append(await _as_task(batch, begun, job, number))
        await batch.note(begun, account.steps[-1], len(account.steps))
    failed = sum(step.status != "completed" for step in account.steps)
    failure = batch_failed(f"{failed} of {len(jobs)} jobs could not be run.") if failed else None
    await batch.finish(begun, account, failure)
    await show_table(f"code-batch-jobs-{begun.id}", _table(account), f"{len(jobs)} jobs, failed first")
    if failure is not None:
        await show_failure(KIND, begun.id, failure, batch.chat_url)
        return Failed(message=failure.detail)
    return Completed(message=f"{len(jobs)} jobs were run.")


def job_name(number: int) -> str:
    return f"job-{number}"


def _table(account: Account) -> list[dict[str, object]]:
    worst_first = sorted(account.steps, key=lambda step: (step.status == "completed", step.error_code is None))
    return [
        {
            "job": step.name,
            "status": step.status,
            "seconds": round((step.ended_at - step.started_at).total_seconds(), 1) if step.ended_at else "",
            "error": f"{step.error_code}: {step.error_detail}" if step.error_code else "",
        }
        for step in worst_first
    ]


async def _as_task(batch: CodeBatch, begun: Begun, job: Job, number: int) -> StepRecord:
    """One job as a task of the flow run, and as a step of ours."""
    step_id, started_at = uuid7(), datetime.now(UTC)

    @task(name=job_name(number), persist_result=False, cache_policy=NO_CACHE, retries=0)
    async def run() -> tuple[str | None, str | None]:
        """The code's own error, if it ended with one."""
        ended, account = await batch.work(begun, job, number)
        if ended.error is not None:
            raise ended.error
        said = account.error
        return (CODE_ERROR, f"{said.name}: {said.value}") if said else (None, None)

    status: RunStatus = "completed"
    try:
        code, detail = await run()
    except ApiError as error:
        status, code, detail = "failed", error.code, error.detail
    except Exception as error:  # of this job alone: the others are still run
        log.exception("a job ended with an error of ours", extra={"run": str(begun.id), "job": number})
        failure = job_failed(f"{type(error).__name__}: {error}")
        status, code, detail = "failed", failure.code, failure.detail
    return StepRecord(step_id, job_name(number), status, started_at, datetime.now(UTC), code, detail)


async def _nothing() -> None:
    return
