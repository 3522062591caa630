"""The chat turn: one coroutine that owns it from the first byte to the model to the last token.

It opens the model's stream at once, passes on what comes, and keeps what was said: whatever ends it, the text up to
there is in its transcript. It knows nothing of Prefect, Postgres or HTTP replies.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from db.records import FinishedRun, NewRun, Role, RunStatus
from flows.errors import message_too_long, turn_timeout
from flows.steps import Steps
from flows.window import exceeds_context, newer_half
from flows.work import Account, Performed, Sink, Span
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

    opens: ClassVar[bool] = True
    model: str
    route: str


@dataclass(frozen=True, slots=True)
class Token:
    opens: ClassVar[bool] = False
    text: str


@dataclass(slots=True)
class Transcript(Account):
    """What is known of a turn so far."""

    said: list[str] = field(default_factory=list)
    model: str | None = None
    route: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    queue_ms: float | None = None
    load_ms: float | None = None
    first_token_ms: float | None = None

    @property
    def text(self) -> str:
        return "".join(self.said)


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn and what it works with. on_first_token: called once, when the first token is there."""

    request: TurnRequest
    models: ModelStreams
    sink: Sink[Started | Token]
    on_first_token: Callable[[], None]
    transcript: Transcript = field(default_factory=Transcript)


async def converse(turn: Turn, steps: Steps) -> Performed:
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
                return Performed("failed", error)
            if exceeds_context(error):
                shorter = newer_half(turn.request.messages)
                if shorter is None:
                    return Performed("failed", message_too_long(error.detail))
                turn, name = replace(turn, request=replace(turn.request, messages=shorter)), MODEL_CALL_SHORTER
            elif worth_retrying(error) and not retried:
                name, retried = MODEL_CALL_RETRY, True
            else:
                return Performed("failed", error)
        else:
            return Performed("completed")


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


class ChatWork:
    """A chat turn as `flows.work.Work`."""

    kind = "chat"

    def __init__(self, request: TurnRequest, models: ModelStreams) -> None:
        self._request = request
        self._models = models
        self.account = Transcript()

    @property
    def timeout_seconds(self) -> float:
        return self._request.timeout_seconds

    def timed_out(self) -> ApiError:
        return turn_timeout(self._request.timeout_seconds)

    async def perform(
        self, sink: Sink[Started | Token], steps: Steps, on_first_output: Callable[[], None]
    ) -> Performed:
        return await converse(Turn(self._request, self._models, sink, on_first_output, self.account), steps)

    def finished(self, run: NewRun, status: RunStatus, error: ApiError | None, span: Span) -> FinishedRun:
        said = self.account
        return FinishedRun(
            id=run.id,
            owner=run.owner,
            conversation_id=run.conversation_id,
            status=status,
            message_id=uuid7(),
            content=said.text,
            complete=status == "completed",
            model=said.model,
            route=said.route,
            prompt_tokens=said.prompt_tokens,
            completion_tokens=said.completion_tokens,
            queue_ms=said.queue_ms,
            load_ms=said.load_ms,
            first_token_ms=said.first_token_ms,
            total_ms=span.total_ms,
            error_code=error.code if error else None,
            error_detail=error.detail if error else None,
            started_at=said.started_at,
            ended_at=span.ended_at,
            steps=tuple(said.steps),
            replaces=run.replaces,
        )
