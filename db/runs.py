"""Reading runs, and keeping them in step with Prefect."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, text, tuple_, update

from db.engine import Database
from db.records import RunFilter, RunRecord, StepRecord
from db.tables import OPEN_STATUSES, IdempotencyKey, Run, RunStep
from wire.errors import NotFound

_COLUMNS = (
    Run.id, Run.kind, Run.status, Run.conversation_id, Run.trace_id, Run.prefect_flow_run_id, Run.flow_recorded_at,
    Run.requested_model, Run.model, Run.route, Run.prompt_tokens, Run.completion_tokens, Run.queue_ms, Run.load_ms,
    Run.first_token_ms, Run.total_ms, Run.error_code, Run.error_detail, Run.created_at, Run.started_at, Run.ended_at,
    Run.parent_id, Run.tool_calls, Run.tool_errors, Run.origin, Run.n8n_execution_id, Run.n8n_workflow_id,
)  # fmt: skip

BATCH, SPEECH_BATCH, CHAT_BATCH = "code-batch", "speech-batch", "chat-batch"
DIGEST, RETENTION, ROUTING_EVALUATION, WARM_UP = "digest", "retention", "routing-evaluation", "warm-up"
MAINTENANCE = (DIGEST, RETENTION, ROUTING_EVALUATION, WARM_UP)
BATCHES = (BATCH, SPEECH_BATCH, CHAT_BATCH, *MAINTENANCE)  # worked on by another process (`db.batches`)
KINDS = ("chat", "code", "speech", "workflow", *BATCHES)
EVERY = RunFilter()


class Runs:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> None:
        """Raises DatabaseUnavailable when Postgres does not answer."""
        await self._database.rows(text("SELECT 1"))

    async def page(
        self,
        owner: str,
        *,
        limit: int,
        wanted: RunFilter = EVERY,
        before: tuple[datetime, uuid.UUID] | None = None,
        after: tuple[datetime, uuid.UUID] | None = None,
        oldest_first: bool = False,
    ) -> list[RunRecord]:
        """The owner's runs, newest first or oldest first; `before`, `after`: (created_at, id) of the last one seen."""
        query = select(*_COLUMNS).where(Run.owner == owner, *_conditions(wanted))
        place = tuple_(Run.created_at, Run.id)
        if before is not None:
            query = query.where(place < before)
        if after is not None:
            query = query.where(place > after)
        order = (Run.created_at, Run.id) if oldest_first else (Run.created_at.desc(), Run.id.desc())
        rows = await self._database.rows(query.order_by(*order).limit(limit))
        return [RunRecord(**row._asdict()) for row in rows]

    async def get(self, run_id: uuid.UUID, owner: str) -> RunRecord:
        """Raises NotFound, also for somebody else's run."""
        rows = await self._database.rows(select(*_COLUMNS).where(Run.id == run_id, Run.owner == owner))
        if not rows:
            raise NotFound(f"No run {run_id}.", code="run_not_found", param="run_id")
        return RunRecord(**rows[0]._asdict())

    async def steps(self, run_id: uuid.UUID) -> list[StepRecord]:
        """A run's steps in order."""
        return (await self.steps_of([run_id]))[run_id]

    async def steps_of(self, run_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, list[StepRecord]]:
        """The steps of several runs, each run's in order."""
        rows = await self._database.rows(
            select(
                RunStep.run_id, RunStep.id, RunStep.name, RunStep.status, RunStep.started_at, RunStep.ended_at,
                RunStep.error_code, RunStep.error_detail, RunStep.kind, RunStep.parent_id, RunStep.detail,
            )
            .where(RunStep.run_id.in_(run_ids))
            .order_by(RunStep.position)
        )  # fmt: skip
        found: dict[uuid.UUID, list[StepRecord]] = {run_id: [] for run_id in run_ids}
        for row in rows:
            fields = row._asdict()
            found[fields.pop("run_id")].append(StepRecord(**fields))
        return found

    async def ran_before(self, conversation_id: uuid.UUID, owner: str, kind: str) -> bool:
        """Whether a run of this kind ended well in this conversation."""
        rows = await self._database.rows(
            select(Run.id)
            .where(
                Run.conversation_id == conversation_id,
                Run.owner == owner,
                Run.kind == kind,
                Run.status == "completed",
            )
            .limit(1)
        )
        return bool(rows)

    async def close_abandoned(self, stack_id: str, instance_id: uuid.UUID) -> list[uuid.UUID]:
        """Marks as `crashed` the open runs of this stack's earlier processes. Returns their ids.

        Of batches, which others work on, only those that were never handed on. What never began may be asked for again
        with the same Idempotency-Key.
        """
        never_handed_on = and_(Run.status == "queued", Run.prefect_flow_run_id.is_(None))
        closed = (
            update(Run)
            .where(
                Run.stack_id == stack_id,
                Run.instance_id != instance_id,
                Run.status.in_(OPEN_STATUSES),
                or_(Run.kind.not_in(BATCHES), never_handed_on),
            )
            .values(
                status="crashed",
                error_code="process_lost",
                error_detail="The chat API ended before this run did.",
                ended_at=func.now(),
            )
            .returning(Run.id, Run.started_at)
            .cte("closed")
        )
        never_begun = select(closed.c.id).where(closed.c.started_at.is_(None))
        forgotten = delete(IdempotencyKey).where(IdempotencyKey.run_id.in_(never_begun)).cte("forgotten")
        rows = await self._database.rows(select(closed.c.id).add_cte(forgotten))
        return [row.id for row in rows]

    async def link_flow(self, run_id: uuid.UUID, flow_run_id: uuid.UUID, *, recorded: bool) -> None:
        """Notes a run's Prefect flow run; `recorded`: Prefect shows its final state."""
        values: dict[str, object] = {"prefect_flow_run_id": flow_run_id}
        if recorded:
            values["flow_recorded_at"] = func.now()
        await self._database.rows(update(Run).where(Run.id == run_id).values(values))

    async def unrecorded(self, stack_id: str, since: datetime, limit: int) -> list[RunRecord]:
        """Ended runs of this stack, oldest first, whose final state Prefect isn't known to show."""
        rows = await self._database.rows(
            select(*_COLUMNS)
            .where(
                Run.stack_id == stack_id,
                Run.flow_recorded_at.is_(None),
                Run.kind.not_in(BATCHES),
                Run.status.not_in(OPEN_STATUSES),
                Run.created_at > since,
            )
            .order_by(Run.created_at)
            .limit(limit)
        )
        return [RunRecord(**row._asdict()) for row in rows]


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    named = ("kind", "status", "model", "conversation_id", "parent_id", "origin")
    conditions = [getattr(Run, name) == value for name in named if (value := getattr(wanted, name)) is not None]
    if wanted.since is not None:
        conditions.append(Run.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(Run.created_at < wanted.until)
    return conditions
