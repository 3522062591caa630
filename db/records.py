"""What repositories take and give: plain frozen values, no session behind them. Times are UTC, `_ms` milliseconds."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Role = Literal["system", "user", "assistant"]
RunStatus = Literal["queued", "running", "completed", "failed", "cancelled", "crashed"]


@dataclass(frozen=True, slots=True)
class NewMessage:
    id: uuid.UUID
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run about to begin. new_conversation: whether its conversation is made with it (titled `title`)."""

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


@dataclass(frozen=True, slots=True)
class OwnedRun:
    id: uuid.UUID
    owner: str
    conversation_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class StepRecord:
    id: uuid.UUID
    name: str
    status: RunStatus
    started_at: datetime
    ended_at: datetime | None
    error_code: str | None = None
    error_detail: str | None = None


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """How a run ended. `content` is what was said, if anything; kept also when it was cut short (`complete` False)."""

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


@dataclass(frozen=True, slots=True)
class MessageRecord:
    id: uuid.UUID
    role: Role
    content: str
    model: str | None
    complete: bool
    run_id: uuid.UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    id: uuid.UUID
    title: str
    created_at: datetime
    updated_at: datetime


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
