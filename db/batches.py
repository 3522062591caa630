"""Rows of what the flow worker does (batches, and what it does by the clock): queued by the API (`db.queued`) or begun
here, worked on by another process, closed by whoever learns of their end.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Uuid, and_, bindparam, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from db import kept
from db.engine import Database
from db.records import RunStatus, StepRecord
from db.runs import BATCH, BATCHES
from db.tables import OPEN_STATUSES, Run, RunStep

KIND = BATCH
CANCELLED_BY_CLIENT = "cancelled_by_client"


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch that was handed on. flow_run_id: of its flow run in Prefect. resumed: whether an earlier worker was at it
    already. started_at: when the first one was.
    """

    id: uuid.UUID
    owner: str
    trace_id: str
    flow_run_id: uuid.UUID | None
    resumed: bool = False
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewScheduled:
    """A run that nobody asked the API for: the clock, or somebody in Prefect's pages."""

    id: uuid.UUID
    owner: str
    kind: str
    trace_id: str
    stack_id: str
    instance_id: uuid.UUID
    flow_run_id: uuid.UUID


_BEGUN = (Run.id, Run.owner, Run.trace_id, Run.prefect_flow_run_id, Run.started_at)

# Once for a flow run, however often it is begun.
_SCHEDULED = text("""
WITH the_principal AS (
    INSERT INTO principals (name) VALUES (:owner) ON CONFLICT DO NOTHING
)
INSERT INTO runs (id, owner, kind, status, origin, trace_id, stack_id, instance_id, prefect_flow_run_id)
SELECT :id, :owner, :kind, 'queued', 'schedule', :trace_id, :stack_id, :instance_id, :flow_run_id
WHERE NOT EXISTS (SELECT FROM runs WHERE prefect_flow_run_id = :flow_run_id)
ON CONFLICT (id) DO NOTHING
""").bindparams(*(bindparam(name, type_=Uuid()) for name in ("id", "instance_id", "flow_run_id")))

# Only while the run is open. The run's end (`db.turns`) writes its steps once more, and finds these by their ids.
_STEP = text("""
WITH the_run AS (
    SELECT id FROM runs WHERE id = :run_id AND owner = :owner AND status IN ('queued', 'running')
), the_step AS (
    INSERT INTO run_steps (id, run_id, owner, position, name, kind, parent_id, status, detail, error_code,
        error_detail, started_at, ended_at)
    SELECT given.id, the_run.id, :owner, :position, given.name, given.kind, given.parent_id, given.status,
        given.detail, given.error_code, given.error_detail, given.started_at, given.ended_at
    FROM the_run, jsonb_to_record(:step) AS given (
        id uuid, name text, kind text, parent_id uuid, status text, detail jsonb, error_code text, error_detail text,
        started_at timestamptz, ended_at timestamptz
    )
    ON CONFLICT (id) DO NOTHING
)
SELECT id FROM the_run
""").bindparams(bindparam("run_id", type_=Uuid()), bindparam("step", type_=JSONB(none_as_null=True)))


class Batches:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def scheduled(self, run: NewScheduled) -> uuid.UUID:
        """Writes a queued run for a flow run that has none. Returns the id of the run that it has."""
        await self._database.rows(_SCHEDULED, asdict(run))
        rows = await self._database.rows(select(Run.id).where(Run.prefect_flow_run_id == run.flow_run_id).limit(1))
        found: uuid.UUID = rows[0].id
        return found

    async def begin(self, run_id: uuid.UUID, flow_run_id: uuid.UUID | None) -> Begun | None:
        """A worker takes a queued batch, or goes on with one that an earlier worker had of the same flow run. None when
        it is not waiting any more (cancelled, say).

        The flow run is noted once more: the API may have ended between asking for it and noting it.
        """
        left_over = and_(Run.status == "running", Run.prefect_flow_run_id == flow_run_id)
        before = (
            select(Run.id, Run.status)
            .where(Run.id == run_id, Run.kind.in_(BATCHES), or_(Run.status == "queued", left_over))
            .with_for_update()
            .cte("before")
        )
        rows = await self._database.rows(
            update(Run)
            .where(Run.id == before.c.id)
            .values(
                status="running",
                started_at=func.coalesce(Run.started_at, func.now()),
                prefect_flow_run_id=func.coalesce(Run.prefect_flow_run_id, flow_run_id),
            )
            .returning(*_BEGUN, (before.c.status == "running").label("resumed"))
        )
        return _begun(rows[0], resumed=rows[0].resumed) if rows else None

    async def forget_steps(self, run_id: uuid.UUID) -> None:
        """Of a batch that begins anew: an earlier worker's steps are none of what will have been done."""
        await self._database.rows(delete(RunStep).where(RunStep.run_id == run_id))

    async def is_open(self, run_id: uuid.UUID) -> bool:
        """Whether nobody has ended it."""
        rows = await self._database.rows(select(Run.id).where(Run.id == run_id, Run.status.in_(OPEN_STATUSES)))
        return bool(rows)

    async def status(self, run_id: uuid.UUID) -> str | None:
        """None for a run that is not there."""
        rows = await self._database.rows(select(Run.status).where(Run.id == run_id))
        return rows[0].status if rows else None

    async def note_step(self, run_id: uuid.UUID, owner: str, step: StepRecord, *, position: int) -> bool:
        """Writes a step of a batch that goes on. Returns whether that is still open."""
        values = {"run_id": run_id, "owner": owner, "position": position, "step": kept.written_step(step)}
        return bool(await self._database.rows(_STEP, values))

    async def close(
        self, run_id: uuid.UUID, status: RunStatus, *, code: str | None = None, detail: str | None = None
    ) -> bool:
        """Ends a batch that is still open. Returns whether it was."""
        rows = await self._database.rows(
            update(Run)
            .where(Run.id == run_id, Run.kind.in_(BATCHES), Run.status.in_(OPEN_STATUSES))
            .values(status=status, error_code=code, error_detail=detail, ended_at=func.now())
            .returning(Run.id)
        )
        return bool(rows)

    async def cancelled(self, run_id: uuid.UUID | None, flow_run_id: uuid.UUID | None) -> None:
        """Ends the open batch of this id, or of this flow run, whose flow run was cancelled in Prefect."""
        which = Run.id == run_id if run_id is not None else Run.prefect_flow_run_id == flow_run_id
        await self._database.rows(
            update(Run)
            .where(which, Run.kind.in_(BATCHES), Run.status.in_(OPEN_STATUSES))
            .values(
                status="cancelled",
                error_code="cancelled_in_prefect",
                error_detail="The flow run was cancelled in Prefect.",
                ended_at=func.now(),
            )
        )

    async def cancelled_by_client(self, run_id: uuid.UUID) -> None:
        """Says of a batch that Prefect told to be cancelled who asked for that."""
        await self._database.rows(
            update(Run)
            .where(Run.id == run_id, Run.status == "cancelled", Run.error_code == "cancelled_in_prefect")
            .values(error_code=CANCELLED_BY_CLIENT, error_detail="The run was cancelled.")
        )

    async def unrecorded(self, stack_id: str, limit: int) -> list[Begun]:
        """Batches with a flow run whose end is not known to be told in both places, oldest first."""
        rows = await self._database.rows(
            select(*_BEGUN)
            .where(
                Run.stack_id == stack_id,
                Run.kind.in_(BATCHES),
                Run.flow_recorded_at.is_(None),
                Run.prefect_flow_run_id.is_not(None),
            )
            .order_by(Run.created_at)
            .limit(limit)
        )
        return [_begun(row) for row in rows]


def _begun(row: Row[Any], *, resumed: bool = False) -> Begun:
    return Begun(row.id, row.owner, row.trace_id, row.prefect_flow_run_id, resumed, row.started_at)
