"""Reading runs, and keeping them in step with Prefect."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import and_, delete, func, or_, select, text, tuple_, update

from db.engine import Database
from db.records import RunRecord, RunStatus, StepRecord
from db.tables import OPEN_STATUSES, IdempotencyKey, Run, RunStep
from wire.errors import NotFound

_COLUMNS = (
    Run.id, Run.kind, Run.status, Run.conversation_id, Run.trace_id, Run.prefect_flow_run_id, Run.flow_recorded_at,
    Run.requested_model, Run.model, Run.route, Run.prompt_tokens, Run.completion_tokens, Run.queue_ms, Run.load_ms,
    Run.first_token_ms, Run.total_ms, Run.error_code, Run.error_detail, Run.created_at, Run.started_at, Run.ended_at,
    Run.parent_id, Run.tool_calls, Run.tool_errors,
)  # fmt: skip

BATCH = "code-batch"  # worked on by another process (`db.batches`)


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
        status: RunStatus | None = None,
        before: tuple[datetime, uuid.UUID] | None = None,
    ) -> list[RunRecord]:
        """The owner's runs, newest first; `before`: (created_at, id) of the last one already seen."""
        query = select(*_COLUMNS).where(Run.owner == owner)
        if status is not None:
            query = query.where(Run.status == status)
        if before is not None:
            query = query.where(tuple_(Run.created_at, Run.id) < tuple_(*before))
        rows = await self._database.rows(query.order_by(Run.created_at.desc(), Run.id.desc()).limit(limit))
        return [RunRecord(**row._asdict()) for row in rows]

    async def get(self, run_id: uuid.UUID, owner: str) -> RunRecord:
        """Raises NotFound, also for somebody else's run."""
        rows = await self._database.rows(select(*_COLUMNS).where(Run.id == run_id, Run.owner == owner))
        if not rows:
            raise NotFound(f"No run {run_id}.", code="run_not_found", param="run_id")
        return RunRecord(**rows[0]._asdict())

    async def steps(self, run_id: uuid.UUID) -> list[StepRecord]:
        """A run's steps in order."""
        rows = await self._database.rows(
            select(
                RunStep.id, RunStep.name, RunStep.status, RunStep.started_at, RunStep.ended_at, RunStep.error_code,
                RunStep.error_detail, RunStep.kind, RunStep.parent_id, RunStep.detail,
            )
            .where(RunStep.run_id == run_id)
            .order_by(RunStep.position)
        )  # fmt: skip
        return [StepRecord(**row._asdict()) for row in rows]

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

        Of batches, which others work on, only those that were never handed on; they may be asked for again with the
        same Idempotency-Key.
        """
        never_handed_on = and_(Run.status == "queued", Run.prefect_flow_run_id.is_(None))
        closed = (
            update(Run)
            .where(
                Run.stack_id == stack_id,
                Run.instance_id != instance_id,
                Run.status.in_(OPEN_STATUSES),
                or_(Run.kind != BATCH, never_handed_on),
            )
            .values(
                status="crashed",
                error_code="process_lost",
                error_detail="The chat API ended before this run did.",
                ended_at=func.now(),
            )
            .returning(Run.id, Run.kind)
            .cte("closed")
        )
        batches = select(closed.c.id).where(closed.c.kind == BATCH)
        forgotten = delete(IdempotencyKey).where(IdempotencyKey.run_id.in_(batches)).cte("forgotten")
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
                Run.kind != BATCH,
                Run.status.not_in(OPEN_STATUSES),
                Run.created_at > since,
            )
            .order_by(Run.created_at)
            .limit(limit)
        )
        return [RunRecord(**row._asdict()) for row in rows]
