"""Rows of a batch's items: written when it begins, each closed when it has been answered. What is closed stays so."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from sqlalchemy import Uuid, bindparam, case, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB

from db import kept
from db.engine import Database
from db.tables import OPEN_STATUSES, BatchItem, Run

ItemStatus = Literal["queued", "running", "completed", "failed"]

_COLUMNS = (
    BatchItem.number, BatchItem.name, BatchItem.status, BatchItem.content, BatchItem.model, BatchItem.route,
    BatchItem.prompt_tokens, BatchItem.completion_tokens, BatchItem.total_ms, BatchItem.attempts, BatchItem.error_code,
    BatchItem.error_detail,
)  # fmt: skip

_ADD = text("""
INSERT INTO batch_items (run_id, number, name, status, error_code, error_detail, ended_at)
SELECT :run_id, given.number, given.name, given.status, given.error_code, given.error_detail,
    CASE WHEN given.status = 'failed' THEN now() END
FROM jsonb_to_recordset(:items) AS given (number int, name text, status text, error_code text, error_detail text)
ON CONFLICT (run_id, number) DO NOTHING
""").bindparams(bindparam("run_id", type_=Uuid()), bindparam("items", type_=JSONB))


@dataclass(frozen=True, slots=True)
class NewItem:
    """status: `queued`, or `failed` for one that cannot be asked at all."""

    number: int
    name: str | None
    status: ItemStatus = "queued"
    error_code: str | None = None
    error_detail: str | None = None


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """attempts: calls that were made for it."""

    number: int
    name: str | None
    status: ItemStatus
    content: str | None = None
    model: str | None = None
    route: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_ms: float | None = None
    attempts: int = 0
    error_code: str | None = None
    error_detail: str | None = None


@dataclass(frozen=True, slots=True)
class ItemCounts:
    completed: int
    failed: int
    of: int

    @property
    def ended(self) -> int:
        return self.completed + self.failed


class BatchItems:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, run_id: uuid.UUID, items: Sequence[NewItem]) -> None:
        """Writes those that are not there."""
        written = [kept.plain(asdict(item)) for item in items]
        await self._database.rows(_ADD, {"run_id": run_id, "items": written})

    async def take_over(self, run_id: uuid.UUID) -> list[int]:
        """Numbers of the items that are yet to be asked, in order; those that an earlier process was at among them."""
        await self._database.rows(
            update(BatchItem)
            .where(BatchItem.run_id == run_id, BatchItem.status == "running")
            .values(status="queued", claim=None)
        )
        rows = await self._database.rows(
            select(BatchItem.number)
            .where(BatchItem.run_id == run_id, BatchItem.status == "queued")
            .order_by(BatchItem.number)
        )
        return [row.number for row in rows]

    async def claim(self, run_id: uuid.UUID, number: int, claim: uuid.UUID) -> bool:
        """Takes an item. False when it is another's by now, or was answered, or its batch is open no more."""
        rows = await self._database.rows(
            update(BatchItem)
            .where(
                BatchItem.run_id == run_id,
                BatchItem.number == number,
                (BatchItem.status == "queued") | ((BatchItem.status == "running") & (BatchItem.claim == claim)),
                exists().where(Run.id == run_id, Run.status.in_(OPEN_STATUSES)),
            )
            .values(status="running", claim=claim)
            .returning(BatchItem.number)
        )
        return bool(rows)

    async def end(self, run_id: uuid.UUID, claim: uuid.UUID, item: ItemRecord) -> bool:
        """Keeps what came of an item. False when it is not this process's any more. May be repeated."""
        values = asdict(item)
        del values["number"], values["name"]
        values["content"] = None if item.content is None else kept.text(item.content)
        values["error_detail"] = kept.detail(item.error_detail)
        rows = await self._database.rows(
            update(BatchItem)
            .where(BatchItem.run_id == run_id, BatchItem.number == item.number, BatchItem.claim == claim)
            .values(**values, ended_at=func.now())
            .returning(BatchItem.number)
        )
        return bool(rows)

    async def counts(self, run_id: uuid.UUID) -> ItemCounts:
        rows = await self._database.rows(
            select(
                func.count(case((BatchItem.status == "completed", 1))).label("completed"),
                func.count(case((BatchItem.status == "failed", 1))).label("failed"),
                func.count().label("of"),
            ).where(BatchItem.run_id == run_id)
        )
        return ItemCounts(**rows[0]._asdict())

    async def of(self, run_id: uuid.UUID, *, after: int = 0, limit: int = 200) -> list[ItemRecord]:
        """Items in order, those after the number."""
        rows = await self._database.rows(
            select(*_COLUMNS)
            .where(BatchItem.run_id == run_id, BatchItem.number > after)
            .order_by(BatchItem.number)
            .limit(limit)
        )
        return [ItemRecord(**row._asdict()) for row in rows]

    async def failures_first(self, run_id: uuid.UUID, limit: int) -> list[ItemRecord]:
        """The items that are worth looking at."""
        rows = await self._database.rows(
            select(*_COLUMNS)
            .where(BatchItem.run_id == run_id)
            .order_by(case((BatchItem.status == "failed", 0), else_=1), BatchItem.number)
            .limit(limit)
        )
        return [ItemRecord(**row._asdict()) for row in rows]
