"""What a run does, whatever its kind: the parts a conductor, a piece of work and its reader agree on.

A kind of work (`flows.turn`, `flows.code`) is a coroutine that tells events to a sink and keeps an account of itself;
`flows.conduct` owns it while it runs and writes its rows from the account.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeVar

from db.records import FinishedRun, NewRun, OwnedRun, RunStatus, StepKind, StepRecord
from flows.step_spans import step_span, told_of
from flows.steps import Steps
from wire.errors import ApiError
from wire.ids import uuid7


class Event(Protocol):
    """What a run tells its reader. opens: the reply can begin with it; every other event is output."""

    @property
    def opens(self) -> bool: ...


E = TypeVar("E", bound=Event)
E_contra = TypeVar("E_contra", bound=Event, contravariant=True)


class Sink(Protocol[E_contra]):
    """Where a run's events go. May make the run wait (a slow reader), never fails."""

    async def put(self, event: E_contra) -> None: ...


@dataclass(frozen=True, slots=True)
class Performed:
    """How a run's coroutine ended: `completed`, or `failed` with the error. Its account holds the rest."""

    status: Literal["completed", "failed"]
    error: ApiError | None = None


@dataclass(slots=True)
class StepNote:
    """What a step under way notes of itself. failure: code and words, of one that failed without raising."""

    id: uuid.UUID
    detail: dict[str, Any] = field(default_factory=dict)
    failure: tuple[str, str] | None = None


@dataclass(slots=True)
class Account:
    """What is known of a run so far. Times are `perf_counter` seconds."""

    started: float = field(default_factory=time.perf_counter)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    steps: list[StepRecord] = field(default_factory=list)

    @property
    def mark(self) -> str | None:
        """A name of its own for a completed run that something went wrong in, as Prefect shows it."""
        return None

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.started) * 1000

    @asynccontextmanager
    async def step(
        self, name: str, kind: StepKind = "step", parent_id: uuid.UUID | None = None
    ) -> AsyncIterator[StepNote]:
        """Notes a step and how it ended. What is put into the note's `detail` is kept with it."""
        step_id, started_at = uuid7(), datetime.now(UTC)
        told = StepNote(step_id)

        def note(status: Literal["completed", "failed", "cancelled"], error: ApiError | None = None) -> None:
            code, detail = (error.code, error.detail) if error else told.failure or (None, None)
            if told.failure and status == "completed":
                status = "failed"
            self.steps.append(
                StepRecord(
                    step_id,
                    name,
                    status,
                    started_at,
                    datetime.now(UTC),
                    code,
                    detail,
                    kind=kind,
                    parent_id=parent_id,
                    detail=told.detail or None,
                )
            )

        with step_span(name, kind, step_id) as span:
            try:
                yield told
            except ApiError as error:
                note("failed", error)
                raise
            except asyncio.CancelledError:
                note("cancelled")
                raise
            finally:
                span.tell(told_of(told.detail))
            span.error = told.failure[0] if told.failure else None
            note("completed")


@dataclass(frozen=True, slots=True)
class Span:
    ended_at: datetime
    total_ms: float


A = TypeVar("A", bound=Account)
A_co = TypeVar("A_co", bound=Account, covariant=True)
E_co = TypeVar("E_co", bound=Event, covariant=True)


class Work(Protocol[E_co, A_co]):
    """One run's work. kind: what its row and its flow are called."""

    @property
    def kind(self) -> str: ...

    @property
    def timeout_seconds(self) -> float: ...

    @property
    def account(self) -> A_co: ...

    def timed_out(self) -> ApiError:
        """What ends it when it has taken longer than that."""
        ...

    async def perform(self, sink: Sink[E_co], steps: Steps, on_first_output: Callable[[], None]) -> Performed:
        """Does it. Cancelling it stops what it started and leaves the account as it was."""
        ...

    def finished(self, run: NewRun, status: RunStatus, error: ApiError | None, span: Span) -> FinishedRun:
        """The row of its end."""
        ...


class Modelled(Protocol):
    """What a model did for a run."""

    model: str | None
    route: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


def finished_run(
    run: OwnedRun,
    account: Account,
    status: RunStatus,
    error: ApiError | None,
    span: Span,
    *,
    modelled: Modelled | None = None,
) -> FinishedRun:
    """The row of the end of a run that says nothing in a conversation."""
    return FinishedRun(
        id=run.id,
        owner=run.owner,
        conversation_id=run.conversation_id,
        status=status,
        message_id=uuid7(),
        content="",
        complete=status == "completed",
        model=modelled.model if modelled else None,
        route=modelled.route if modelled else None,
        prompt_tokens=modelled.prompt_tokens if modelled else None,
        completion_tokens=modelled.completion_tokens if modelled else None,
        queue_ms=None,
        load_ms=None,
        first_token_ms=None,
        total_ms=span.total_ms,
        error_code=error.code if error else None,
        error_detail=error.detail if error else None,
        started_at=account.started_at,
        ended_at=span.ended_at,
        steps=tuple(account.steps),
    )
