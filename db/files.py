"""Rows of files. The bytes are the caller's business; an owner sees only their own."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Uuid, bindparam, delete, func, select, text, tuple_
from sqlalchemy.exc import IntegrityError

from db.engine import Database
from db.records import FileRecord
from db.tables import File
from wire.errors import Conflict, NotFound

COLUMNS = (
    File.id, File.owner, File.conversation_id, File.run_id, File.name, File.media_type, File.size_bytes, File.sha256,
    File.storage_path, File.created_at,
)  # fmt: skip

# May run twice around a broken connection: the id is the file's own. A conversation removed meanwhile is left out.
_ADD = text("""
WITH the_principal AS (
    INSERT INTO principals (name) VALUES (:owner) ON CONFLICT DO NOTHING
)
INSERT INTO files (id, owner, conversation_id, run_id, name, media_type, size_bytes, sha256, storage_path, created_at)
VALUES (:id, :owner, (SELECT id FROM conversations WHERE id = :conversation_id), :run_id, :name, :media_type,
    :size_bytes, :sha256, :storage_path, :created_at)
ON CONFLICT (id) DO NOTHING
""").bindparams(*(bindparam(name, type_=Uuid()) for name in ("id", "conversation_id", "run_id")))


class Files:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, file: FileRecord) -> None:
        """Raises Conflict when its run is not there."""
        try:
            await self._database.rows(_ADD, asdict(file))
        except IntegrityError:
            raise Conflict(f"There is no run {file.run_id} to keep a file of.", code="run_not_written") from None

    async def get(self, file_id: uuid.UUID, owner: str) -> FileRecord:
        """Raises NotFound, also for somebody else's file."""
        rows = await self._database.rows(select(*COLUMNS).where(File.id == file_id, File.owner == owner))
        if not rows:
            raise no_file(file_id)
        return file_record(rows[0])

    async def page(
        self, owner: str, *, limit: int, before: tuple[datetime, uuid.UUID] | None = None
    ) -> list[FileRecord]:
        """The owner's files, newest first; `before`: (created_at, id) of the last one already seen."""
        query = select(*COLUMNS).where(File.owner == owner)
        if before is not None:
            query = query.where(tuple_(File.created_at, File.id) < before)
        rows = await self._database.rows(query.order_by(File.created_at.desc(), File.id.desc()).limit(limit))
        return [file_record(row) for row in rows]

    async def of_run(self, run_id: uuid.UUID, owner: str) -> list[FileRecord]:
        """A run's files, in the order they were kept."""
        rows = await self._database.rows(
            select(*COLUMNS).where(File.run_id == run_id, File.owner == owner).order_by(File.created_at, File.id)
        )
        return [file_record(row) for row in rows]

    async def remove(self, file_id: uuid.UUID, owner: str) -> FileRecord:
        """Removes the row and returns it. Raises NotFound."""
        rows = await self._database.rows(
            delete(File).where(File.id == file_id, File.owner == owner).returning(*COLUMNS)
        )
        if not rows:
            raise no_file(file_id)
        return file_record(rows[0])

    async def older_than(self, moment: datetime, limit: int) -> list[FileRecord]:
        """Everybody's files of before, oldest first."""
        rows = await self._database.rows(
            select(*COLUMNS).where(File.created_at < moment).order_by(File.created_at).limit(limit)
        )
        return [file_record(row) for row in rows]

    async def bytes_of(self, owner: str) -> int:
        """Bytes of all files of an owner."""
        rows = await self._database.rows(select(func.sum(File.size_bytes)).where(File.owner == owner))
        return int(rows[0][0] or 0)

    async def known(self, file_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        """Those of these files that have a row, whoever's."""
        rows = await self._database.rows(select(File.id).where(File.id.in_(file_ids)))
        return {row.id for row in rows}


def no_file(file_id: uuid.UUID) -> NotFound:
    return NotFound(f"No file {file_id}.", code="file_not_found", param="file_id")


def file_record(row: Row[Any]) -> FileRecord:
    return FileRecord(**row._asdict())
