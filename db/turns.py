"""A run's rows: one statement when it begins, one when it ends."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from db.engine import Database
from db.records import FinishedRun, MessageRecord, NewRun
from wire.errors import Conflict, NotFound

_BEGIN = """
WITH the_principal AS (
    INSERT INTO principals (name) VALUES (:owner) ON CONFLICT DO NOTHING
), the_conversation AS (
    {conversation}
), the_run AS (
    INSERT INTO runs (id, owner, kind, status, conversation_id, trace_id, stack_id, instance_id, requested_model,
        started_at)
    VALUES (:id, :owner, :kind, 'running', :conversation_id, :trace_id, :stack_id, :instance_id, :requested_model,
        now())
)
INSERT INTO messages (id, owner, conversation_id, run_id, role, content)
SELECT given.id, :owner, :conversation_id, :id, given.role, given.content
FROM ROWS FROM (jsonb_to_recordset(:messages) AS (id uuid, role text, content text)) WITH ORDINALITY
    AS given (id, role, content, place)
ORDER BY given.place
"""
_NEW_CONVERSATION = "INSERT INTO conversations (id, owner, title) VALUES (:conversation_id, :owner, :title)"
_OLD_CONVERSATION = "UPDATE conversations SET updated_at = now() WHERE id = :conversation_id AND owner = :owner"

DETAIL_CHARS = 2000  # of an error that is kept: user code words its own

_UUIDS = ("id", "conversation_id", "instance_id", "message_id")


def _statement(sql: str) -> TextClause:
    binds = [bindparam(name, type_=Uuid()) for name in _UUIDS if f":{name}" in sql]
    binds += [bindparam(name, type_=JSONB()) for name in ("messages", "steps") if f"(:{name})" in sql]
    return text(sql).bindparams(*binds)


BEGIN_NEW = _statement(_BEGIN.format(conversation=_NEW_CONVERSATION))
BEGIN_OLD = _statement(_BEGIN.format(conversation=_OLD_CONVERSATION))

FINISH = _statement("""
WITH the_message AS (
    INSERT INTO messages (id, owner, conversation_id, run_id, role, content, model, complete)
    SELECT :message_id, :owner, :conversation_id, :id, 'assistant', :content, :model, :complete
    WHERE CAST(:content AS text) <> '' AND EXISTS (SELECT FROM conversations WHERE id = :conversation_id)
    ON CONFLICT (id) DO NOTHING
), the_conversation AS (
    UPDATE conversations SET updated_at = now() WHERE id = :conversation_id
), the_steps AS (
    INSERT INTO run_steps (id, run_id, owner, position, name, status, error_code, error_detail, started_at, ended_at)
    SELECT given.id, :id, :owner, given.place, given.name, given.status, given.error_code, given.error_detail,
           given.started_at, given.ended_at
    FROM ROWS FROM (jsonb_to_recordset(:steps) AS (
        id uuid, name text, status text, error_code text, error_detail text,
        started_at timestamptz, ended_at timestamptz
    )) WITH ORDINALITY AS given (id, name, status, error_code, error_detail, started_at, ended_at, place)
    ON CONFLICT (id) DO NOTHING
)
UPDATE runs SET status = :status, model = :model, route = :route, prompt_tokens = :prompt_tokens,
    completion_tokens = :completion_tokens, queue_ms = :queue_ms, load_ms = :load_ms, first_token_ms = :first_token_ms,
    total_ms = :total_ms, error_code = :error_code, error_detail = :error_detail, started_at = :started_at,
    ended_at = :ended_at
WHERE id = :id AND status IN ('queued', 'running')
""")

# By a message of its own where it has one; a run without any by its trace and its being open.
BEGAN = text("""
SELECT 1 FROM runs WHERE id = :id AND CASE
    WHEN :message_id IS NULL THEN trace_id = :trace_id AND status = 'running'
    ELSE EXISTS (SELECT FROM messages WHERE messages.id = :message_id AND run_id = :id) END
""").bindparams(bindparam("id", type_=Uuid()), bindparam("message_id", type_=Uuid()))

# One row for the conversation itself, so that an empty one is told from one that is not there.
HISTORY = text("""
SELECT conversations.id AS conversation_id, newest.*
FROM conversations LEFT JOIN LATERAL (
    SELECT id, role, content, model, complete, run_id, created_at, position FROM messages
    WHERE conversation_id = conversations.id ORDER BY position DESC LIMIT :most
) AS newest ON true
WHERE conversations.id = :conversation_id AND conversations.owner = :owner
ORDER BY newest.position
""").bindparams(bindparam("conversation_id", type_=Uuid()))


class Turns:
    """The writes and the one read of a run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def history(self, conversation_id: uuid.UUID, owner: str, most: int) -> list[MessageRecord]:
        """The newest `most` messages of a conversation, oldest first. Raises NotFound unless the owner has it."""
        rows = await self._database.rows(HISTORY, {"conversation_id": conversation_id, "owner": owner, "most": most})
        if not rows:
            raise no_conversation(conversation_id)
        return [
            MessageRecord(row.id, row.role, row.content, row.model, row.complete, row.run_id, row.created_at)
            for row in rows
            if row.id is not None
        ]

    async def begin(self, run: NewRun) -> None:
        """Writes run, messages and, when new, principal and conversation. All of it, or nothing.

        Raises Conflict for a run id that was used before, NotFound when the conversation has gone meanwhile.
        """
        values = asdict(run)
        values["messages"] = [{**message, "id": str(message["id"])} for message in values["messages"]]
        try:
            await self._database.rows(BEGIN_NEW if run.new_conversation else BEGIN_OLD, values)
        except IntegrityError as error:
            if await self._began(run):
                return  # this very statement, run twice around a broken connection
            if "fk_" in str(error.orig) and run.conversation_id is not None:
                raise no_conversation(run.conversation_id) from None
            raise Conflict(
                f"Run id {run.id} was used before.", code="run_id_used", param="x-capibara6-run-id"
            ) from None

    async def _began(self, run: NewRun) -> bool:
        found = await self._database.rows(
            BEGAN, {"id": run.id, "trace_id": run.trace_id, "message_id": run.messages[0].id if run.messages else None}
        )
        return bool(found)

    async def finish(self, run: FinishedRun) -> None:
        """Closes the run and keeps what was said. May be repeated: the second time changes nothing."""
        values = {name: _storable(value) for name, value in asdict(run).items()}
        steps = json.loads(json.dumps(values["steps"], default=_plain))
        values["steps"] = [{name: _storable(value) for name, value in step.items()} for step in steps]
        for one in (values, *values["steps"]):
            one["error_detail"] = one["error_detail"] and one["error_detail"][:DETAIL_CHARS]
        await self._database.rows(FINISH, values)


def no_conversation(conversation_id: uuid.UUID) -> NotFound:
    return NotFound(f"No conversation {conversation_id}.", code="conversation_not_found", param="conversation_id")


def _storable(value: Any) -> Any:
    """Text as Postgres takes it: user code's and models' words may hold NULs and halves of surrogate pairs."""
    return value.replace("\x00", "\ufffd").encode(errors="replace").decode() if isinstance(value, str) else value


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
