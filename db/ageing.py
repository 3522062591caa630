"""Removing what is past its time, everybody's, some at a time."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import delete, exists, func, select

from db.engine import Database
from db.tables import OPEN_STATUSES, Conversation, File, Run

_ENDED = Run.status.not_in(OPEN_STATUSES)
_QUIET = ~exists().where(Run.conversation_id == Conversation.id, Run.status.in_(OPEN_STATUSES))


class Ageing:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def count_runs(self, before: datetime) -> int:
        return await self._count(select(func.count()).where(_ENDED, Run.created_at < before))

    async def remove_runs(self, before: datetime, limit: int) -> int:
        """Ended runs that were made before, with their steps and items; messages and files stay. Returns how many."""
        old = select(Run.id).where(_ENDED, Run.created_at < before).order_by(Run.created_at).limit(limit)
        return len(await self._database.rows(delete(Run).where(Run.id.in_(old)).returning(Run.id)))

    async def count_conversations(self, before: datetime) -> int:
        return await self._count(select(func.count()).where(Conversation.updated_at < before, _QUIET))

    async def quiet_conversations(self, before: datetime, limit: int) -> list[tuple[uuid.UUID, str]]:
        """Ids and owners of conversations in which nothing was said since, oldest first."""
        rows = await self._database.rows(
            select(Conversation.id, Conversation.owner)
            .where(Conversation.updated_at < before, _QUIET)
            .order_by(Conversation.updated_at)
            .limit(limit)
        )
        return [(row.id, row.owner) for row in rows]

    async def count_files(self, before: datetime) -> int:
        return await self._count(select(func.count()).where(File.created_at < before))

    async def _count(self, query: object) -> int:
        rows = await self._database.rows(query)  # type: ignore[arg-type]
        return int(rows[0][0])
