"""Reading and removing conversations. An owner sees only their own; everybody else's are not there."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import delete, or_, select, tuple_, update

from db import kept
from db.engine import Database
from db.records import ConversationRecord, MessageRecord
from db.tables import Conversation, Message
from db.turns import message_record, no_conversation

_COLUMNS = (
    Conversation.id, Conversation.title, Conversation.created_at, Conversation.updated_at, Conversation.forked_from,
)  # fmt: skip


class Conversations:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, owner: str, *, limit: int, before: tuple[datetime, uuid.UUID] | None = None
    ) -> list[ConversationRecord]:
        """The owner's conversations, last used first; `before`: (updated_at, id) of the last one already seen."""
        query = select(*_COLUMNS).where(Conversation.owner == owner)
        if before is not None:
            query = query.where(tuple_(Conversation.updated_at, Conversation.id) < tuple_(*before))
        rows = await self._database.rows(
            query.order_by(Conversation.updated_at.desc(), Conversation.id.desc()).limit(limit)
        )
        return [ConversationRecord(**row._asdict()) for row in rows]

    async def get(self, conversation_id: uuid.UUID, owner: str) -> ConversationRecord:
        """Raises NotFound."""
        rows = await self._database.rows(
            select(*_COLUMNS).where(Conversation.id == conversation_id, Conversation.owner == owner)
        )
        if not rows:
            raise no_conversation(conversation_id)
        return ConversationRecord(**rows[0]._asdict())

    async def messages(self, conversation_id: uuid.UUID, owner: str, *, limit: int) -> list[MessageRecord]:
        """The newest `limit` messages, oldest first."""
        rows = await self._database.rows(
            select(
                Message.id, Message.role, Message.content, Message.model, Message.complete, Message.run_id,
                Message.created_at, Message.position, Message.tool_calls,
            )
            .where(Message.conversation_id == conversation_id, Message.owner == owner)
            .order_by(Message.position.desc())
            .limit(limit)
        )  # fmt: skip
        return [message_record(row) for row in reversed(rows)]

    async def summarise(self, conversation_id: uuid.UUID, owner: str, summary: str, until: int) -> bool:
        """Keeps a summary of the messages up to and with position `until`. Returns whether it was kept: not when there
        is one that covers as much, or when the message there has gone (its answer was made anew).
        """
        there = select(Message.id).where(Message.conversation_id == conversation_id, Message.position == until)
        rows = await self._database.rows(
            update(Conversation)
            .where(
                Conversation.id == conversation_id,
                Conversation.owner == owner,
                or_(Conversation.summary_until.is_(None), Conversation.summary_until < until),
                there.exists(),
            )
            .values(summary=kept.text(summary), summary_until=until)
            .returning(Conversation.id)
        )
        return bool(rows)

    async def remove(self, conversation_id: uuid.UUID, owner: str) -> None:
        """Removes a conversation with its messages; its runs stay, without it. Raises NotFound."""
        rows = await self._database.rows(
            delete(Conversation)
            .where(Conversation.id == conversation_id, Conversation.owner == owner)
            .returning(Conversation.id)
        )
        if not rows:
            raise no_conversation(conversation_id)
