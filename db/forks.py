"""A conversation that goes on from a message of another one: its messages up to there, copied in one statement."""

from __future__ import annotations

import uuid

from sqlalchemy import Uuid, bindparam, text

from db.engine import Database
from db.turns import no_conversation
from wire.errors import NotFound, ValidationFailed

_IDS = [bindparam(name, type_=Uuid()) for name in ("conversation_id", "message_id", "fork_id")]
_LOOK = text("""
SELECT (
    SELECT count(*) FROM messages AS earlier
    WHERE earlier.conversation_id = conversations.id AND earlier.position <= last.position
) AS messages, last.id AS last
FROM conversations LEFT JOIN messages AS last ON last.conversation_id = conversations.id AND last.id = :message_id
WHERE conversations.id = :conversation_id AND conversations.owner = :owner
""").bindparams(*_IDS[:2])

# May run twice around a broken connection: the second time finds its conversation made, and makes nothing.
_FORK = text("""
WITH source AS (
    SELECT conversations.*, last.position AS last
    FROM conversations JOIN messages AS last ON last.conversation_id = conversations.id AND last.id = :message_id
    WHERE conversations.id = :conversation_id AND conversations.owner = :owner
        AND NOT EXISTS (SELECT FROM conversations WHERE id = :fork_id)
), originals AS MATERIALIZED (
    SELECT gen_random_uuid() AS copy_id, messages.*
    FROM messages JOIN source ON messages.conversation_id = source.id AND messages.position <= source.last
), copies AS (
    INSERT INTO messages (id, owner, conversation_id, run_id, role, content, model, complete, tool_calls, created_at)
    SELECT copy_id, owner, :fork_id, run_id, role, content, model, complete, tool_calls, created_at
    FROM originals ORDER BY position
    RETURNING id, position
)
INSERT INTO conversations (id, owner, title, summary, summary_until, forked_from)
SELECT :fork_id, owner, coalesce(:title, title), CASE WHEN summary_until <= last THEN summary END,
    CASE WHEN summary_until <= last THEN (
        SELECT max(copies.position) FROM copies JOIN originals ON originals.copy_id = copies.id
        WHERE originals.position <= source.summary_until
    ) END, id
FROM source
RETURNING id
""").bindparams(*_IDS)


async def fork(
    database: Database,
    conversation_id: uuid.UUID,
    message_id: uuid.UUID,
    owner: str,
    *,
    fork_id: uuid.UUID,
    title: str | None,
    most_messages: int,
) -> None:
    """Makes the conversation `fork_id` of another one's messages up to and with one of them, and of its summary where
    that covers no more. Raises NotFound for a conversation, or a message in it, that the owner does not have, and
    ValidationFailed for more than `most_messages`.
    """
    names = {"conversation_id": conversation_id, "message_id": message_id, "owner": owner}
    looked = await database.rows(_LOOK, names)
    if not looked:
        raise no_conversation(conversation_id)
    if looked[0].last is None:
        raise no_message(message_id)
    if looked[0].messages > most_messages:
        raise ValidationFailed(
            f"There are {looked[0].messages} messages up to this one; at most {most_messages} are copied "
            "(CAPIBARA6_FORK_MESSAGES).",
            param="message_id",
            code="too_many_messages",
        )
    await database.rows(_FORK, names | {"fork_id": fork_id, "title": title})


def no_message(message_id: uuid.UUID) -> NotFound:
    return NotFound(f"No message {message_id} in this conversation.", code="message_not_found", param="message_id")
