"""A run's rows: one statement when it begins, one when it ends."""

from __future__ import annotations

import uuid
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import TextClause, Uuid, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from db import kept
from db.engine import Database
from db.records import FinishedRun, History, MessageRecord, NewRun
from wire.errors import Conflict, NotFound

_BEGIN = """
WITH the_principal AS (
    INSERT INTO principals (name) VALUES (:owner) ON CONFLICT DO NOTHING
), the_run AS (
    {run}
), the_conversation AS (
    {conversation}
), the_messages AS (
    INSERT INTO messages (id, owner, conversation_id, run_id, role, content)
    SELECT given.id, :owner, :conversation_id, :id, given.role, given.content
    FROM the_run, ROWS FROM (jsonb_to_recordset(:messages) AS (id uuid, role text, content text)) WITH ORDINALITY
        AS given (id, role, content, place)
    ORDER BY given.place
)
SELECT id FROM the_run
"""
_NEW_CONVERSATION = """
    INSERT INTO conversations (id, owner, title) SELECT :conversation_id, :owner, :title FROM the_run
"""
_OLD_CONVERSATION = "UPDATE conversations SET updated_at = now() WHERE id = :conversation_id AND owner = :owner"
# Where a run comes from: what its parent does, where it has one.
FROM_WHERE = """coalesce(parent.origin, :origin), coalesce(:n8n_execution_id, parent.n8n_execution_id),
        CASE WHEN CAST(:n8n_execution_id AS text) IS NULL THEN parent.n8n_workflow_id ELSE :n8n_workflow_id END"""
# A parent that its owner does not have, or that is not written, is left out: it may have been anybody's word.
_NEW_RUN = """
    INSERT INTO runs (id, owner, kind, status, parent_id, origin, n8n_execution_id, n8n_workflow_id, conversation_id,
        trace_id, stack_id, instance_id, requested_model, started_at)
    SELECT :id, :owner, :kind, 'running', parent.id, {from_where}, :conversation_id, :trace_id, :stack_id,
        :instance_id, :requested_model, now()
    FROM (SELECT) AS one LEFT JOIN runs AS parent ON parent.id = :parent_id AND parent.owner = :owner
    RETURNING id
"""
_QUEUED_RUN = """
    UPDATE runs SET status = 'running', conversation_id = :conversation_id, requested_model = :requested_model,
        started_at = now()
    WHERE id = :id AND owner = :owner AND kind = :kind AND instance_id = :instance_id AND status = 'queued'
    RETURNING id
"""

_UUIDS = ("id", "conversation_id", "instance_id", "message_id", "parent_id", "replaces")
_JSON = ("messages", "steps", "calls")


def _statement(sql: str) -> TextClause:
    binds = [bindparam(name, type_=Uuid()) for name in _UUIDS if f":{name}" in sql]
    binds += [bindparam(name, type_=JSONB(none_as_null=True)) for name in _JSON if f":{name}" in sql]
    return text(sql).bindparams(*binds)


_FRESH_RUN = _NEW_RUN.format(from_where=FROM_WHERE)
BEGIN_NEW = _statement(_BEGIN.format(conversation=_NEW_CONVERSATION, run=_FRESH_RUN))
BEGIN_OLD = _statement(_BEGIN.format(conversation=_OLD_CONVERSATION, run=_FRESH_RUN))
BEGIN_QUEUED_NEW = _statement(_BEGIN.format(conversation=_NEW_CONVERSATION, run=_QUEUED_RUN))
BEGIN_QUEUED_OLD = _statement(_BEGIN.format(conversation=_OLD_CONVERSATION, run=_QUEUED_RUN))

# An answer that takes another's place has its position: what was said since comes after it still.
FINISH = _statement("""
WITH the_place AS (
    SELECT :conversation_id IS NULL OR EXISTS (SELECT FROM conversations WHERE id = :conversation_id) AS stands
), the_message AS (
    INSERT INTO messages (id, owner, conversation_id, run_id, role, content, model, complete, tool_calls)
    SELECT :message_id, :owner, :conversation_id, :id, 'assistant', :content, :model, :complete, :calls
    WHERE :replaces IS NULL AND (CAST(:content AS text) <> '' OR :calls IS NOT NULL)
        AND EXISTS (SELECT FROM conversations WHERE id = :conversation_id)
    ON CONFLICT (id) DO NOTHING
), the_replacement AS (
    UPDATE messages SET id = :message_id, run_id = :id, content = :content, model = :model, complete = true,
        tool_calls = :calls, created_at = now()
    WHERE id = :replaces AND conversation_id = :conversation_id AND owner = :owner AND :complete AND :content <> ''
    RETURNING position
), the_conversation AS (
    UPDATE conversations SET updated_at = now(),
        summary = CASE WHEN summary_until >= (SELECT position FROM the_replacement) THEN NULL ELSE summary END,
        summary_until = CASE WHEN summary_until >= (SELECT position FROM the_replacement) THEN NULL
            ELSE summary_until END
    WHERE id = :conversation_id
), the_steps AS (
    INSERT INTO run_steps (id, run_id, owner, position, name, kind, parent_id, status, detail, error_code, error_detail,
        started_at, ended_at)
    SELECT given.id, :id, :owner, given.place, given.name, given.kind, given.parent_id, given.status,
        CASE WHEN stands THEN given.detail END, given.error_code, CASE WHEN stands THEN given.error_detail END,
        given.started_at, given.ended_at
    FROM the_place, ROWS FROM (jsonb_to_recordset(:steps) AS (
        id uuid, name text, kind text, parent_id uuid, status text, detail jsonb, error_code text, error_detail text,
        started_at timestamptz, ended_at timestamptz
    )) WITH ORDINALITY AS given (id, name, kind, parent_id, status, detail, error_code, error_detail, started_at,
        ended_at, place)
    ON CONFLICT (id) DO NOTHING
)
UPDATE runs SET status = :status, model = :model, route = :route, prompt_tokens = :prompt_tokens,
    completion_tokens = :completion_tokens, tool_calls = :called, tool_errors = :call_errors, queue_ms = :queue_ms,
    load_ms = :load_ms, first_token_ms = :first_token_ms, total_ms = :total_ms, error_code = :error_code,
    error_detail = :error_detail, started_at = :started_at, ended_at = :ended_at
WHERE id = :id AND status IN ('queued', 'running')
""")

# By a message of its own where it has one; a run without any by its trace and its being open.
BEGAN = text("""
SELECT 1 FROM runs WHERE id = :id AND CASE
    WHEN :message_id IS NULL THEN trace_id = :trace_id AND status = 'running'
    ELSE EXISTS (SELECT FROM messages WHERE messages.id = :message_id AND run_id = :id) END
""").bindparams(bindparam("id", type_=Uuid()), bindparam("message_id", type_=Uuid()))

# One row for the conversation itself, so that an empty one is told from one that is not there. A summary that covers
# the message before which the turn goes on is not used: what it sums up is about to be said anew. What a model is told
# to be (system) is neither summed up nor counted.
HISTORY = (
    text("""
SELECT conversations.id AS conversation_id, known.summary, EXISTS (
    SELECT FROM messages WHERE conversation_id = conversations.id AND tool_calls @> '[{"untrusted": true}]'
) AS untrusted, newest.*
FROM conversations CROSS JOIN LATERAL (
    SELECT CASE WHEN summary_until < :before THEN summary END AS summary,
        CASE WHEN summary_until < :before THEN summary_until ELSE 0 END AS until
) AS known LEFT JOIN LATERAL (
    (SELECT id, role, content, model, complete, run_id, created_at, position, tool_calls FROM messages
    WHERE conversation_id = conversations.id AND position < :before AND role = 'system'
    ORDER BY position DESC LIMIT 8)
    UNION ALL
    (SELECT id, role, content, model, complete, run_id, created_at, position, tool_calls FROM messages
    WHERE conversation_id = conversations.id AND position < :before AND role <> 'system' AND position > known.until
    ORDER BY position DESC LIMIT :most)
) AS newest ON true
WHERE conversations.id = :conversation_id AND conversations.owner = :owner
ORDER BY newest.position
""")
    .bindparams(bindparam("conversation_id", type_=Uuid()))
    .columns(tool_calls=JSONB)
)
NEWEST = 2**63 - 1  # beyond every position

# In the run's own conversation: a fork's copies name the run too (`db.forks`), and are the fork's.
SAID = (
    text("""
SELECT id, role, content, model, complete, run_id, created_at, position, tool_calls FROM messages
WHERE run_id = :id AND owner = :owner AND conversation_id = (SELECT conversation_id FROM runs WHERE id = :id)
ORDER BY position
""")
    .bindparams(bindparam("id", type_=Uuid()))
    .columns(tool_calls=JSONB)
)
# Here too the run's own conversation alone. A summary of it that covers a message goes with that; a fork's sums up what
# the fork still has.
FORGET = text("""
WITH the_run AS (
    SELECT conversation_id FROM runs WHERE id = :id AND owner = :owner AND conversation_id IS NOT NULL
), the_detached AS (
    UPDATE runs SET conversation_id = NULL WHERE id = :id AND owner = :owner
), the_steps AS (
    UPDATE run_steps SET detail = NULL WHERE run_id = :id AND owner = :owner AND name = :calls
), the_messages AS (
    DELETE FROM messages
    WHERE run_id = :id AND owner = :owner AND conversation_id = (SELECT conversation_id FROM the_run)
    RETURNING position
), the_summary AS (
    UPDATE conversations SET summary = NULL, summary_until = NULL
    WHERE id = (SELECT conversation_id FROM the_run) AND summary_until >= (SELECT min(position) FROM the_messages)
)
SELECT NOT EXISTS (
    SELECT FROM messages WHERE conversation_id = the_run.conversation_id AND run_id IS DISTINCT FROM :id
) AS emptied FROM the_run
""").bindparams(bindparam("id", type_=Uuid()))


class Turns:
    """The writes and the one read of a run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def history(self, conversation_id: uuid.UUID, owner: str, most: int, *, before: int | None = None) -> History:
        """The summary, and of the messages after it the newest `most`, oldest first. `before`: only those before this
        position. Raises NotFound unless the owner has the conversation.
        """
        rows = await self._database.rows(
            HISTORY,
            {
                "conversation_id": conversation_id,
                "owner": owner,
                "most": most,
                "before": NEWEST if before is None else before,
            },
        )
        if not rows:
            raise no_conversation(conversation_id)
        messages = [message_record(row) for row in rows if row.id is not None]
        return History(rows[0].summary, messages, rows[0].untrusted)

    async def begin(self, run: NewRun) -> None:
        """Writes run, messages and, when new, principal and conversation. All of it, or nothing.

        Raises Conflict for a run id that was used before, or a queued run that waits no more; NotFound when the
        conversation has gone meanwhile.
        """
        values = asdict(run)
        values["messages"] = [{**message, "id": str(message["id"])} for message in values["messages"]]
        if run.queued:
            statement = BEGIN_QUEUED_NEW if run.new_conversation else BEGIN_QUEUED_OLD
        else:
            statement = BEGIN_NEW if run.new_conversation else BEGIN_OLD
        try:
            began = await self._database.rows(statement, values)
        except IntegrityError as error:
            if await self._began(run):
                return  # this very statement, run twice around a broken connection
            if "fk_" in str(error.orig) and run.conversation_id is not None:
                raise no_conversation(run.conversation_id) from None
            raise run_id_used(run.id) from None
        if not began and not await self._began(run):
            raise Conflict(f"Run {run.id} is not waiting any more.", code="run_not_waiting")

    async def _began(self, run: NewRun) -> bool:
        found = await self._database.rows(
            BEGAN, {"id": run.id, "trace_id": run.trace_id, "message_id": run.messages[0].id if run.messages else None}
        )
        return bool(found)

    async def finish(self, run: FinishedRun) -> None:
        """Closes the run and keeps what was said. May be repeated: the second time changes nothing."""
        given = {field.name: getattr(run, field.name) for field in fields(run)}
        values = {name: kept.text(value) if isinstance(value, str) else value for name, value in given.items()}
        del values["tool_calls"]
        values |= {
            "error_detail": kept.detail(run.error_detail),
            "steps": [kept.written_step(step) for step in run.steps],
            "calls": kept.written_calls(run.tool_calls),
            "called": len(run.tool_calls),
            "call_errors": sum(call.status == "failed" for call in run.tool_calls),
        }
        await self._database.rows(FINISH, values)

    async def said(self, run_id: uuid.UUID, owner: str) -> list[MessageRecord]:
        """What was kept of a run: what was asked, then what was answered. Copies in forks are not told."""
        return [message_record(row) for row in await self._database.rows(SAID, {"id": run_id, "owner": owner})]

    async def forget(self, run_id: uuid.UUID, owner: str, calls: str) -> bool:
        """Removes what was said in a run, also in its steps of the name `calls`; the run stays, without a conversation,
        and copies in forks stay. Returns whether its conversation holds nothing else.
        """
        rows = await self._database.rows(FORGET, {"id": run_id, "owner": owner, "calls": calls})
        return bool(rows) and bool(rows[0].emptied)


def message_record(row: Any) -> MessageRecord:
    """A row with the record's columns."""
    columns = ("id", "role", "content", "model", "complete", "run_id", "created_at", "position")
    return MessageRecord(**{name: getattr(row, name) for name in columns}, tool_calls=kept.read_calls(row.tool_calls))


def no_conversation(conversation_id: uuid.UUID) -> NotFound:
    return NotFound(f"No conversation {conversation_id}.", code="conversation_not_found", param="conversation_id")


def run_id_used(run_id: uuid.UUID) -> Conflict:
    return Conflict(f"Run id {run_id} was used before.", code="run_id_used", param="x-capibara6-run-id")
