"""The chat turn: one coroutine that owns it from the first byte to the model to the last token.

It opens the model's stream at once, passes on what comes, and keeps what was said: whatever ends it, the text up to
there is in its transcript. It knows nothing of Prefect, Postgres or HTTP replies.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from db.records import Role, StepRecord
from flows.errors import message_too_long
from flows.steps import Steps
from flows.window import exceeds_context, newer_half
from wire.clients.models import ChatStream
from wire.errors import ApiError, UpstreamFailed
from wire.ids import uuid7

MODEL_CALL = "model_call"
MODEL_CALL_RETRY = "model_call_retry"
MODEL_CALL_SHORTER = "model_call_shorter_history"


@dataclass(frozen=True, slots=True)
class ChatMessage:
    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What a turn is asked. `options` go to the model as they are (temperature, max_tokens, …); None model: auto."""

    run_id: uuid.UUID
    conversation_id: uuid.UUID
    model: str | None
    messages: tuple[ChatMessage, ...]
    options: Mapping[str, Any]
    headers: Mapping[str, str]
    timeout_seconds: float

    def body(self) -> dict[str, Any]:
        """The OpenAI chat request."""
        messages = [{"role": message.role, "content": message.content} for message in self.messages]
        return {"model": self.model or "auto", "messages": messages, **self.options}


class ModelStreams(Protocol):
    def stream_chat(
        self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[ChatStream]: ...


@dataclass(frozen=True, slots=True)
class Started:
    """The model server took the request; `model` answers."""

    model: str
    route: str


@dataclass(frozen=True, slots=True)
class Token:
    text: str


class Sink(Protocol):
    """Where a turn's events go. May make the turn wait (a slow reader), never fails."""

    async def put(self, event: Started | Token) -> None: ...


@dataclass(slots=True)
class Transcript:
    """What is known of a turn so far. Times are `perf_counter` seconds."""

    started: float = field(default_factory=time.perf_counter)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    said: list[str] = field(default_factory=list)
    model: str | None = None
    route: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    queue_ms: float | None = None
    load_ms: float | None = None
    first_token_ms: float | None = None
    steps: list[StepRecord] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.said)

    def elapsed_ms(self) -> float:
        return (time.perf_counter() - self.started) * 1000

    @asynccontextmanager
    async def step(self, name: str) -> AsyncIterator[None]:
        """Notes a step and how it ended."""
        step_id, started_at = uuid7(), datetime.now(UTC)

        def note(status: Literal["completed", "failed", "cancelled"], error: ApiError | None = None) -> None:
            code, detail = (error.code, error.detail) if error else (None, None)
            self.steps.append(StepRecord(step_id, name, status, started_at, datetime.now(UTC), code, detail))

        try:
            yield
        except ApiError as error:
            note("failed", error)
            raise
        except asyncio.CancelledError:
            note("cancelled")
            raise
        note("completed")


@dataclass(frozen=True, slots=True)
class TurnResult:
    """status: `completed`, or `failed` with the error. The transcript holds the rest."""

    status: Literal["completed", "failed"]
    error: ApiError | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn and what it works with. on_first_token: called once, when the first token is there."""

    request: TurnRequest
    models: ModelStreams
    sink: Sink
    on_first_token: Callable[[], None]
    transcript: Transcript = field(default_factory=Transcript)


async def converse(turn: Turn, steps: Steps) -> TurnResult:
    """Takes the turn. Returns how it ended; cancelling it stops the generation and leaves the transcript as it was.

    The first model call is made directly: it waits for nothing. One that broke before its first token is made once
    more, as a step of the flow. One that the model found too long is made again, directly, with the newer half of the
    messages, until only the newest is left.
    """
    transcript, name, retried = turn.transcript, MODEL_CALL, False
    while True:
        try:
            async with transcript.step(name):
                await _call(turn, steps, name)
        except ApiError as error:
            if transcript.said:
                return TurnResult("failed", error)
            if exceeds_context(error):
                shorter = newer_half(turn.request.messages)
                if shorter is None:
                    return TurnResult("failed", message_too_long(error.detail))
                turn, name = replace(turn, request=replace(turn.request, messages=shorter)), MODEL_CALL_SHORTER
            elif worth_retrying(error) and not retried:
                name, retried = MODEL_CALL_RETRY, True
            else:
                return TurnResult("failed", error)
        else:
            return TurnResult("completed")


def worth_retrying(error: ApiError) -> bool:
    """Whether a call that said nothing yet may go well at once: its engine died, or its connection broke."""
    return isinstance(error, UpstreamFailed) or error.code == "model_server_disconnected"


async def _call(turn: Turn, steps: Steps, name: str) -> None:
    if name == MODEL_CALL_RETRY:
        remaining = turn.request.timeout_seconds - turn.transcript.elapsed_ms() / 1000
        await steps.run(name, lambda: _listen(turn), timeout_seconds=max(1.0, remaining))
    else:
        await _listen(turn)


async def _listen(turn: Turn) -> None:
    """One model call: passes on tokens, notes model, usage and timings. Raises ApiError."""
    transcript, sink = turn.transcript, turn.sink
    async with turn.models.stream_chat(turn.request.body(), turn.request.headers) as stream:
        transcript.model, transcript.route = stream.model or None, stream.route or None
        transcript.queue_ms, transcript.load_ms = stream.queue_ms, stream.load_ms
        await sink.put(Started(stream.model, stream.route))
        async for chunk in stream.chunks:
            transcript.queue_ms, transcript.load_ms = stream.queue_ms, stream.load_ms  # a long wait is told late
            text = _take(chunk, transcript)
            if not text:
                continue
            if not transcript.said:
                transcript.first_token_ms = transcript.elapsed_ms()
                turn.on_first_token()
            transcript.said.append(text)
            await sink.put(Token(text))


def _take(chunk: Mapping[str, Any], transcript: Transcript) -> str:
    """The text of an OpenAI chunk; what else it says goes to the transcript."""
    transcript.model = transcript.model or chunk.get("model")
    usage = chunk.get("usage")
    if usage:
        transcript.prompt_tokens = usage.get("prompt_tokens")
        transcript.completion_tokens = usage.get("completion_tokens")
    text = ""
    for choice in chunk.get("choices") or ():
        transcript.finish_reason = choice.get("finish_reason") or transcript.finish_reason
        text += (choice.get("delta") or {}).get("content") or ""
    return text
