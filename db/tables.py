"""The tables. Every row that belongs to somebody names its owner (a principal).

Words that are a column's few values are text with a check, not Postgres enums: a new value is then a plain migration.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Sequence,
    Text,
    func,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

RUN_STATUSES = ("queued", "running", "completed", "failed", "cancelled", "crashed")
OPEN_STATUSES = ("queued", "running")
ORIGINS = ("chat", "n8n", "schedule", "api")
STEP_KINDS = ("model_call", "tool_call", "sandbox", "retrieval", "step")
# Full text of a message, in both languages at once. The first characters only: a tsvector holds less than 1 MB, and a
# text that Postgres refuses to index is a message that is not kept. Four bytes a character, hyphenated words whole and
# in parts, and each with two stems: 40,000 characters stay below it whatever they are.
SEARCHED_CHARS = 40_000
SEARCH = " || ".join(f"to_tsvector('{name}', left(content, {SEARCHED_CHARS}))" for name in ("spanish", "english"))

Id = Annotated[uuid.UUID, mapped_column(primary_key=True)]
Owner = Annotated[str, mapped_column(Text, ForeignKey("principals.name"))]
Moment = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
MaybeMoment = Annotated[datetime | None, mapped_column(DateTime(timezone=True))]


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {str: Text, datetime: DateTime(timezone=True)}  # noqa: RUF012 - SQLAlchemy's own form


class Principal(Base):
    """Who owns things: `local`, a program (frontend, n8n, operator, services), later a person."""

    __tablename__ = "principals"

    name: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[Moment]


class Conversation(Base):
    """summary: of its messages up to and with position `summary_until`. forked_from: whose messages it began with."""

    __tablename__ = "conversations"
    __table_args__ = (
        Index(None, "owner", "updated_at", "id"),
        Index(None, "forked_from", postgresql_where="forked_from IS NOT NULL"),
    )

    id: Mapped[Id]
    owner: Mapped[Owner]
    title: Mapped[str]
    summary: Mapped[str | None]
    summary_until: Mapped[int | None] = mapped_column(BigInteger)
    forked_from: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("conversations.id", ondelete="SET NULL"))
    created_at: Mapped[Moment]
    updated_at: Mapped[Moment]


class Run(Base):
    """One piece of work somebody asked for, from first to last.

    instance_id: the chat API process that owns it while it is open. flow_recorded_at: when Prefect is known to show
    the run's final state. Timings are milliseconds since the request was read; queue and load are the model server's.
    parent_id: the run that asked for this one. tool_calls, tool_errors: how many there were, and how many failed.
    origin: where the wish for it came from, its parent's where it has one; n8n_…: the execution that asked.
    """

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(f"status IN {RUN_STATUSES}", name="status"),
        CheckConstraint(f"origin IN {ORIGINS}", name="origin"),
        Index(None, "owner", "created_at", "id"),
        Index(None, "conversation_id"),
        Index(None, "parent_id", postgresql_where="parent_id IS NOT NULL"),
        Index(None, "prefect_flow_run_id", postgresql_where="prefect_flow_run_id IS NOT NULL"),
        Index("ix_runs_open", "stack_id", postgresql_where="status IN ('queued', 'running')"),
        Index("ix_runs_unrecorded", "stack_id", "created_at", postgresql_where="flow_recorded_at IS NULL"),
    )

    id: Mapped[Id]
    owner: Mapped[Owner]
    kind: Mapped[str]
    status: Mapped[str]
    parent_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    conversation_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("conversations.id", ondelete="SET NULL"))
    trace_id: Mapped[str]
    stack_id: Mapped[str]
    instance_id: Mapped[uuid.UUID]
    prefect_flow_run_id: Mapped[uuid.UUID | None]
    flow_recorded_at: Mapped[MaybeMoment]
    requested_model: Mapped[str | None]
    model: Mapped[str | None]
    route: Mapped[str | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    tool_calls: Mapped[int] = mapped_column(server_default="0")
    tool_errors: Mapped[int] = mapped_column(server_default="0")
    queue_ms: Mapped[float | None]
    load_ms: Mapped[float | None]
    first_token_ms: Mapped[float | None]
    total_ms: Mapped[float | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    origin: Mapped[str] = mapped_column(server_default="api")
    n8n_execution_id: Mapped[str | None]
    n8n_workflow_id: Mapped[str | None]
    created_at: Mapped[Moment]
    started_at: Mapped[MaybeMoment]
    ended_at: Mapped[MaybeMoment]


class Message(Base):
    """position: order within all messages, given by the database. complete: False for an answer that was cut short.

    tool_calls: of the answer (`db.records.ToolCallRecord`).
    """

    __tablename__ = "messages"
    __table_args__ = (
        CheckConstraint("role IN ('system', 'user', 'assistant')", name="role"),
        Index(None, "conversation_id", "position"),
        Index(None, "search", postgresql_using="gin"),
    )

    id: Mapped[Id]
    position: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    owner: Mapped[Owner]
    conversation_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("conversations.id", ondelete="CASCADE"))
    run_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    role: Mapped[str]
    content: Mapped[str]
    model: Mapped[str | None]
    complete: Mapped[bool] = mapped_column(server_default="true")
    tool_calls: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB)
    search: Mapped[str | None] = mapped_column(TSVECTOR, Computed(SEARCH, persisted=True))
    created_at: Mapped[Moment]


class RunStep(Base):
    """One effect of a run: a model call, a tool, a sandbox execution. parent_id: the run's step that it is part of."""

    __tablename__ = "run_steps"
    __table_args__ = (
        CheckConstraint(f"status IN {RUN_STATUSES}", name="status"),
        CheckConstraint(f"kind IN {STEP_KINDS}", name="kind"),
        Index(None, "run_id", "position"),
    )

    id: Mapped[Id]
    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    owner: Mapped[Owner]
    position: Mapped[int]
    name: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="step")
    parent_id: Mapped[uuid.UUID | None]
    status: Mapped[str]
    detail: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    started_at: Mapped[Moment]
    ended_at: Mapped[MaybeMoment]


class BatchItem(Base):
    """One question of a batch of them, and what came of it. number: its place, or its line in the file it came in.
    name: what its asker calls it. claim: of the process that is at it, so that one which was taken for dead keeps
    nothing.
    """

    __tablename__ = "batch_items"
    __table_args__ = (CheckConstraint("status IN ('queued', 'running', 'completed', 'failed')", name="status"),)

    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="queued")
    claim: Mapped[uuid.UUID | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
    content: Mapped[str | None]
    model: Mapped[str | None]
    route: Mapped[str | None]
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    total_ms: Mapped[float | None]
    error_code: Mapped[str | None]
    error_detail: Mapped[str | None]
    ended_at: Mapped[MaybeMoment]


class File(Base):
    """What an owner uploaded or a run made. The bytes are in `storage_path`, below the stack's home."""

    __tablename__ = "files"
    __table_args__ = (Index(None, "owner", "created_at"), Index(None, "conversation_id"), Index(None, "run_id"))

    id: Mapped[Id]
    owner: Mapped[Owner]
    conversation_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("conversations.id", ondelete="SET NULL"))
    run_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="SET NULL"))
    name: Mapped[str]
    media_type: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    storage_path: Mapped[str]
    created_at: Mapped[Moment]


class IdempotencyKey(Base):
    """A request that may be sent twice and is done once: the same owner's same key means the same run."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "expires_at"),)

    owner: Mapped[str] = mapped_column(ForeignKey("principals.name"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str]
    run_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    response: Mapped[dict[str, object] | None] = mapped_column(JSONB)
    created_at: Mapped[Moment]
    expires_at: Mapped[datetime]


class Subscriber(Base):
    """An address that is told of ended runs, one event at a time: a hook, or where callbacks go (no `events`).

    id: the hook's; of a callback's address, what `outbox` makes of owner and URL. kinds: of runs, None: all. newest:
    the position of its newest event. next_attempt_at: None while nothing waits for it. failures: tries without success
    since the last one with. leased_by: the process that tells it at the moment.
    """

    __tablename__ = "subscribers"
    __table_args__ = (
        Index(None, "owner", postgresql_where="events IS NOT NULL"),
        Index("ix_subscribers_waiting", "next_attempt_at", postgresql_where="next_attempt_at IS NOT NULL"),
    )

    id: Mapped[Id]
    owner: Mapped[Owner]
    url: Mapped[str]
    events: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    kinds: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    description: Mapped[str | None]
    newest: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failures: Mapped[int] = mapped_column(server_default="0")
    last_error: Mapped[str | None]
    next_attempt_at: Mapped[MaybeMoment]
    leased_by: Mapped[uuid.UUID | None]
    leased_until: Mapped[MaybeMoment]
    created_at: Mapped[Moment]


class Callback(Base):
    """An address at which the end of one run is told. attempts: how often that was tried.

    Written for a run that has ended, a trigger tells it at once (migration 0005).
    """

    __tablename__ = "callbacks"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'delivered', 'failed')", name="state"),
        Index("ix_callbacks_pending", "run_id", postgresql_where="state = 'pending'"),
    )

    run_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    url: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    last_error: Mapped[str | None]
    created_at: Mapped[Moment]


outbox_position = Sequence("outbox_position", metadata=Base.metadata)


class Outgoing(Base):
    """An event on its way to one subscriber: removed when that has it.

    Written by a trigger of `runs` in the transaction that ends a run, whoever does that (migration 0003). position: of
    one subscriber's events, the order of those transactions. event_id: the same for all who are told of a run's end.
    What is told of the run is read when it is told; the run may have gone by then.
    """

    __tablename__ = "outbox"
    __table_args__ = (Index(None, "subscriber_id", "position"), Index(None, "created_at"))

    position: Mapped[int] = mapped_column(BigInteger, outbox_position, primary_key=True)
    event_id: Mapped[uuid.UUID]
    subscriber_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("subscribers.id", ondelete="CASCADE"))
    is_callback: Mapped[bool]
    event: Mapped[str]
    run_id: Mapped[uuid.UUID]
    owner: Mapped[str]
    kind: Mapped[str]
    status: Mapped[str]
    origin: Mapped[str]
    created_at: Mapped[Moment]
