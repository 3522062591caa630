"""Reading, renaming and removing conversations. An owner sees only their own; everybody else's are not there."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import delete, null, or_, select, tuple_, update

from db import kept
from db.engine import Database
from db.files import COLUMNS as FILE
from db.files import file_record
from db.forks import no_message
from db.records import ConversationRecord, FileRecord, MessageRecord, OwnedMessage
from db.tables import Conversation, File, Message, Run, RunStep
from db.turns import message_record, no_conversation

_COLUMNS = (
    Conversation.id, Conversation.title, Conversation.created_at, Conversation.updated_at, Conversation.forked_from,
)  # fmt: skip
_MESSAGE = (
    Message.id, Message.role, Message.content, Message.model, Message.complete, Message.run_id, Message.created_at,
    Message.position, Message.tool_calls,
)  # fmt: skip


class Conversations:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        owner: str,
        *,
        limit: int,
        before: tuple[datetime, uuid.UUID] | None = None,
        titled: str | None = None,
    ) -> list[ConversationRecord]:
        """The owner's conversations, last used first; `before`: (updated_at, id) of the last one already seen.

        titled: only those that have this in their title, whatever its case.
        """
        query = select(*_COLUMNS).where(Conversation.owner == owner)
        if before is not None:
            query = query.where(tuple_(Conversation.updated_at, Conversation.id) < before)
        if titled is not None:
            query = query.where(Conversation.title.icontains(titled, autoescape=True))
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

    async def messages(
        self, conversation_id: uuid.UUID, owner: str, *, limit: int, before: uuid.UUID | None = None
    ) -> list[MessageRecord]:
        """The newest `limit` messages, of those before the message `before`, oldest first; none before one that is not
        there.
        """
        asked = select(*_MESSAGE).where(Message.conversation_id == conversation_id, Message.owner == owner)
        if before is not None:
            place = select(Message.position).where(Message.id == before, Message.conversation_id == conversation_id)
            asked = asked.where(Message.position < place.scalar_subquery())
        rows = await self._database.rows(asked.order_by(Message.position.desc()).limit(limit))
        return [message_record(row) for row in reversed(rows)]

    async def last_message(self, conversation_id: uuid.UUID, owner: str) -> MessageRecord | None:
        """None for a conversation in which nothing was said. Raises NotFound."""
        found = await self.messages(conversation_id, owner, limit=1)
        if not found:
            await self.get(conversation_id, owner)
        return found[0] if found else None

    async def has_message(self, conversation_id: uuid.UUID, owner: str, message_id: uuid.UUID) -> bool:
        rows = await self._database.rows(
            select(Message.id).where(
                Message.id == message_id, Message.conversation_id == conversation_id, Message.owner == owner
            )
        )
        return bool(rows)

    async def message(self, message_id: uuid.UUID, owner: str) -> OwnedMessage:
        """A message of any conversation of the owner's. Raises NotFound."""
        rows = await self._database.rows(
            select(Message.id, Message.conversation_id, Message.content).where(
                Message.id == message_id, Message.owner == owner
            )
        )
        if not rows:
            raise no_message(message_id)
        return OwnedMessage(**rows[0]._asdict())

    async def messages_after(
        self, conversation_id: uuid.UUID, owner: str, position: int, *, limit: int
    ) -> list[MessageRecord]:
        """The first `limit` messages after a position, oldest first."""
        rows = await self._database.rows(
            select(*_MESSAGE)
            .where(Message.conversation_id == conversation_id, Message.owner == owner, Message.position > position)
            .order_by(Message.position)
            .limit(limit)
        )
        return [message_record(row) for row in rows]

    async def messages_of_run(
        self, conversation_id: uuid.UUID, owner: str, run_id: uuid.UUID, *, limit: int
    ) -> list[MessageRecord]:
        """What a run wrote in its conversation: what was asked, and the answer."""
        rows = await self._database.rows(
            select(*_MESSAGE)
            .where(Message.conversation_id == conversation_id, Message.owner == owner, Message.run_id == run_id)
            .order_by(Message.position)
            .limit(limit)
        )
        return [message_record(row) for row in rows]

    async def rename(self, conversation_id: uuid.UUID, owner: str, title: str) -> ConversationRecord:
        """Its place among the others stays. Raises NotFound."""
        rows = await self._database.rows(
            update(Conversation)
            .where(Conversation.id == conversation_id, Conversation.owner == owner)
            .values(title=title)
            .returning(*_COLUMNS)
        )
        if not rows:
            raise no_conversation(conversation_id)
        return ConversationRecord(**rows[0]._asdict())

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

    async def remove(self, conversation_id: uuid.UUID, owner: str) -> list[FileRecord]:
        """Removes a conversation with its messages and the rows of its files, all or nothing; its runs stay, without
        it and without what was said in their steps. Returns the files, whose bytes are the caller's business. Raises
        NotFound.
        """
        gone = (
            delete(Conversation)
            .where(Conversation.id == conversation_id, Conversation.owner == owner)
            .returning(Conversation.id)
            .cte("gone")
        )
        files = delete(File).where(File.conversation_id.in_(select(gone.c.id)), File.owner == owner)
        removed = files.returning(*FILE).cte("removed")
        its_runs = select(Run.id).where(Run.conversation_id.in_(select(gone.c.id)), Run.owner == owner)
        steps = (
            update(RunStep).where(RunStep.run_id.in_(its_runs)).values(detail=null(), error_detail=None).cte("steps")
        )
        # One row at least when the conversation was there, so that none means that it was not.
        rows = await self._database.rows(
            select(*removed.c)
            .select_from(gone.outerjoin(removed, removed.c.conversation_id == gone.c.id))
            .add_cte(steps)
        )
        if not rows:
            raise no_conversation(conversation_id)
        return [file_record(row) for row in rows if row.id is not None]
