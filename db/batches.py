"""Rows of batches of code: queued by the API (`db.queued`), worked on by another process, closed by whoever learns of
their end.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select, update

from db.engine import Database
from db.records import RunStatus
from db.runs import BATCH
from db.tables import OPEN_STATUSES, Run

KIND = BATCH


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch that was handed on. flow_run_id: of its flow run in Prefect."""

    id: uuid.UUID
    owner: str
    trace_id: str
    flow_run_id: uuid.UUID | None


_BEGUN = (Run.id, Run.owner, Run.trace_id, Run.prefect_flow_run_id)


class Batches:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, run_id: uuid.UUID, flow_run_id: uuid.UUID | None) -> Begun | None:
        """A worker takes a queued batch. None when it is not waiting any more (cancelled, say).

        The flow run is noted once more: the API may have ended between asking for it and noting it.
        """
        rows = await self._database.rows(
            update(Run)
            .where(Run.id == run_id, Run.kind == KIND, Run.status == "queued")
            .values(
                status="running",
                started_at=func.now(),
                prefect_flow_run_id=func.coalesce(Run.prefect_flow_run_id, flow_run_id),
            )
            .returning(*_BEGUN)
        )
        return _begun(rows[0]) if rows else None

    async def is_open(self, run_id: uuid.UUID) -> bool:
        """Whether nobody has ended it."""
        rows = await self._database.rows(select(Run.id).where(Run.id == run_id, Run.status.in_(OPEN_STATUSES)))
        return bool(rows)

    async def close(
        self, run_id: uuid.UUID, status: RunStatus, *, code: str | None = None, detail: str | None = None
    ) -> bool:
        """Ends a batch that is still open. Returns whether it was."""
        rows = await self._database.rows(
            update(Run)
            .where(Run.id == run_id, Run.kind == KIND, Run.status.in_(OPEN_STATUSES))
            .values(status=status, error_code=code, error_detail=detail, ended_at=func.now())
            .returning(Run.id)
        )
        return bool(rows)

    async def unrecorded(self, stack_id: str, limit: int) -> list[Begun]:
        """Batches with a flow run whose end is not known to be told in both places, oldest first."""
        rows = await self._database.rows(
            select(*_BEGUN)
            .where(
                Run.stack_id == stack_id,
                Run.kind == KIND,
                Run.flow_recorded_at.is_(None),
                Run.prefect_flow_run_id.is_not(None),
            )
            .order_by(Run.created_at)
            .limit(limit)
        )
        return [_begun(row) for row in rows]


def _begun(row: Row[Any]) -> Begun:
    return Begun(row.id, row.owner, row.trace_id, row.prefect_flow_run_id)
