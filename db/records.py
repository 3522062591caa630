"""What repositories take and give: plain frozen values, no session behind them. Times are UTC, `_ms` milliseconds."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]
RunStatus = Literal["queued", "running", "completed", "failed", "cancelled", "crashed"]
RunOrigin = Literal["chat", "n8n", "schedule", "api"]
CallbackState = Literal["pending", "delivered", "failed"]
StepKind = Literal["model_call", "tool_call", "sandbox", "retrieval", "step"]
ToolStatus = Literal["completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class NewMessage:
    id: uuid.UUID
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run about to begin. new_conversation: whether its conversation is made with it (titled `title`).

    parent_id: the run that asked for this one; left out where its owner has no such run. replaces: the answer that this
    run's, once it is whole, takes the place of. queued: whether its row is there already, waiting (`db.queued`).
    origin: where the wish for it came from; a run that another asked for has that one's.
    """

    id: uuid.UUID
    owner: str
    kind: str
    conversation_id: uuid.UUID | None
    new_conversation: bool
    title: str
    trace_id: str
    stack_id: str
    instance_id: uuid.UUID
    requested_model: str | None
    messages: tuple[NewMessage, ...]
    parent_id: uuid.UUID | None = None
    replaces: uuid.UUID | None = None
    queued: bool = False
    origin: RunOrigin = "api"
    n8n_execution_id: str | None = None
    n8n_workflow_id: str | None = None


@dataclass(frozen=True, slots=True)
class OwnedRun:
    id: uuid.UUID
    owner: str
    conversation_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class ToolCallRecord:
    """A tool that an answer used. result: its text, bounded. error: `code` and `detail`, None where it went well.

    untrusted: whether the result comes from outside (a fetched page, somebody else's server).
    """

    id: str
    name: str
    arguments: Mapping[str, Any]
    status: ToolStatus
    result: str | None
    error: Mapping[str, str] | None
    duration_ms: float
    untrusted: bool


@dataclass(frozen=True, slots=True)
class StepRecord:
    """parent_id: the step that it is part of. detail: what is worth knowing of it, by its kind."""

    id: uuid.UUID
    name: str
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None
    error_code: str | None = None
    error_detail: str | None = None
    kind: StepKind = "step"
    parent_id: uuid.UUID | None = None
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """How a run ended. `content` is what was said, if anything; kept also when it was cut short (`complete` False).

    tool_calls: what the answer used; kept with it, or alone where nothing was said. replaces: the answer whose place a
    complete one takes; one that is not complete is then not kept.
    """

    id: uuid.UUID
    owner: str
    conversation_id: uuid.UUID | None
    status: RunStatus
    message_id: uuid.UUID
    content: str
    complete: bool
    model: str | None
    route: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    queue_ms: float | None
    load_ms: float | None
    first_token_ms: float | None
    total_ms: float
    error_code: str | None
    error_detail: str | None
    started_at: datetime
    ended_at: datetime
    steps: tuple[StepRecord, ...]
    tool_calls: tuple[ToolCallRecord, ...] = ()
    replaces: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """position: its order, ever growing."""

    id: uuid.UUID
    role: Role
    content: str
    model: str | None
    complete: bool
    run_id: uuid.UUID | None
    created_at: datetime
    position: int
    tool_calls: tuple[ToolCallRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class OwnedMessage:
    id: uuid.UUID
    conversation_id: uuid.UUID
    content: str


@dataclass(frozen=True, slots=True)
class History:
    """What a turn goes on from. summary: of all that was said before the first of `messages`, where there is one.
    untrusted: whether any answer of the conversation was made from what came from outside.
    """

    summary: str | None
    messages: list[MessageRecord]
    untrusted: bool = False


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """forked_from: the conversation whose messages it began with."""

    id: uuid.UUID
    title: str
    created_at: datetime
    updated_at: datetime
    forked_from: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are meant; None: whatever it is. model: the one that answered. since, until: when the run was made,
    `until` itself not included.
    """

    kind: str | None = None
    status: RunStatus | None = None
    model: str | None = None
    conversation_id: uuid.UUID | None = None
    parent_id: uuid.UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    origin: RunOrigin | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    id: uuid.UUID
    kind: str
    status: RunStatus
    conversation_id: uuid.UUID | None
    trace_id: str
    prefect_flow_run_id: uuid.UUID | None
    flow_recorded_at: datetime | None
    requested_model: str | None
    model: str | None
    route: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    queue_ms: float | None
    load_ms: float | None
    first_token_ms: float | None
    total_ms: float | None
    error_code: str | None
    error_detail: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    parent_id: uuid.UUID | None = None
    tool_calls: int = 0
    tool_errors: int = 0
    origin: RunOrigin = "api"
    n8n_execution_id: str | None = None
    n8n_workflow_id: str | None = None


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What an owner uploaded or a run made. storage_path: relative to the stack's home, made of the id alone."""

    id: uuid.UUID
    owner: str
    conversation_id: uuid.UUID | None
    run_id: uuid.UUID | None
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    storage_path: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewHook:
    """events: of which it is told. kinds: of runs; None: all."""

    id: uuid.UUID
    owner: str
    url: str
    events: tuple[str, ...]
    kinds: tuple[str, ...] | None
    description: str | None


@dataclass(frozen=True, slots=True)
class HookRecord:
    """pending: events that wait for it. failures: tries since it last had one."""

    id: uuid.UUID
    owner: str
    url: str
    events: list[str]
    kinds: list[str] | None
    description: str | None
    failures: int
    last_error: str | None
    next_attempt_at: datetime | None
    created_at: datetime
    pending: int


@dataclass(frozen=True, slots=True)
class CallbackRecord:
    url: str
    state: CallbackState
    attempts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """The end of a run, to be told to one subscriber. event_id: the same for all of them, and at each try."""

    position: int
    event_id: uuid.UUID
    is_callback: bool
    event: str
    run_id: uuid.UUID
    owner: str
    kind: str
    status: RunStatus
    origin: RunOrigin
    created_at: datetime
