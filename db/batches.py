"""Rows of batches of code: queued by the API, worked on by another process, closed by whoever learns of their end."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, Uuid, bindparam, delete, func, select, text, update
from sqlalchemy.exc import IntegrityError

from db.engine import Database
from db.records import RunStatus
from db.runs import BATCH
from db.tables import OPEN_STATUSES, IdempotencyKey, Run
from wire.errors import Conflict

KIND = BATCH


@dataclass(frozen=True, slots=True)
class NewBatch:
    id: uuid.UUID
    owner: str
    trace_id: str
    stack_id: str
    instance_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Promise:
    """What a client asked to be done once: its key, and the digest of what it asked."""

    key: str
    request_sha256: str
    lasts_seconds: float


@dataclass(frozen=True, slots=True)
class Begun:
    """A batch that was handed on. flow_run_id: of its flow run in Prefect."""

    id: uuid.UUID
    owner: str
    trace_id: str
    flow_run_id: uuid.UUID | None


_BEGUN = (Run.id, Run.owner, Run.trace_id, Run.prefect_flow_run_id)
_UUIDS = [bindparam(name, type_=Uuid()) for name in ("id", "instance_id")]
_QUEUE = text("""
WITH the_principal AS (
    INSERT INTO principals (name) VALUES (:owner) ON CONFLICT DO NOTHING
)
INSERT INTO runs (id, owner, kind, status, trace_id, stack_id, instance_id)
VALUES (:id, :owner, 'code-batch', 'queued', :trace_id, :stack_id, :instance_id)
""").bindparams(*_UUIDS)
# The run only if the key is new: both, or neither.
_QUEUE_ONCE = text("""
WITH the_principal AS (
    INSERT INTO principals (name) VALUES (:owner) ON CONFLICT DO NOTHING
), the_key AS (
    INSERT INTO idempotency_keys (owner, key, request_sha256, run_id, expires_at)
    VALUES (:owner, :key, :request_sha256, :id, :expires_at) ON CONFLICT DO NOTHING RETURNING key
)
INSERT INTO runs (id, owner, kind, status, trace_id, stack_id, instance_id)
SELECT :id, :owner, 'code-batch', 'queued', :trace_id, :stack_id, :instance_id
WHERE EXISTS (SELECT FROM the_key) RETURNING id
""").bindparams(*_UUIDS)


class Batches:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def queue(self, batch: NewBatch, promise: Promise | None) -> uuid.UUID:
        """Writes a queued run. Returns its id; the earlier run's, when the promise was made before.

        Raises Conflict for a run id, or a key with another request, that was used before.
        """
        values: dict[str, Any] = {name: getattr(batch, name) for name in NewBatch.__slots__}
        try:
            if promise is None:
                await self._database.rows(_QUEUE, values)
                return batch.id
            await self._database.rows(delete(IdempotencyKey).where(IdempotencyKey.expires_at < func.now()))
            values |= {
                "key": promise.key,
                "request_sha256": promise.request_sha256,
                "expires_at": datetime.now(UTC) + timedelta(seconds=promise.lasts_seconds),
            }
            if await self._database.rows(_QUEUE_ONCE, values):
                return batch.id
        except IntegrityError:
            raise Conflict(f"Run id {batch.id} was used before.", code="run_id_used") from None
        kept = await self._database.rows(
            select(IdempotencyKey.run_id, IdempotencyKey.request_sha256).where(
                IdempotencyKey.owner == batch.owner, IdempotencyKey.key == promise.key
            )
        )
        if not kept or kept[0].request_sha256 != promise.request_sha256 or kept[0].run_id is None:
            raise Conflict("This Idempotency-Key was used for another request.", code="idempotency_key_used")
        run_id: uuid.UUID = kept[0].run_id
        return run_id

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

    async def forget_promise(self, run_id: uuid.UUID) -> None:
        """A batch that could not be handed on may be asked for again with the same key."""
        await self._database.rows(delete(IdempotencyKey).where(IdempotencyKey.run_id == run_id))

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
