"""One call of a model within a turn: what it streams is passed on, what it asks for is put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flows.errors import message_too_long
from flows.steps import Steps
from flows.tools.calls import Call, CallDeltas
from flows.tools.text import HeldText
from flows.turn import Started, Token, Turn
from flows.window import exceeds_context, newer_half
from flows.work import StepNote
from wire.context import outgoing_headers
from wire.errors import ApiError, UpstreamFailed

MODEL_CALL = "model_call"
MODEL_CALL_RETRY = "model_call_retry"
MODEL_CALL_SHORTER = "model_call_shorter_history"
TOOL_CHOICE = "tool_choice"


@dataclass(frozen=True, slots=True)
class Ask:
    """messages: OpenAI's. tools: OpenAI functions it may call. names: those whose calls it may also write as text.
    options: beside the request's own. shown: its text is the answer, which the reader sees. later: a step of the flow
    run, as every model call but a turn's first is."""

    model: str
    messages: tuple[Mapping[str, Any], ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    names: frozenset[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = MODEL_CALL
    shown: bool = True
    later: bool = False


@dataclass(slots=True)
class Said:
    """What the model said: text (shown or not), calls; cut_off: it came to its limit."""

    pieces: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    cut_off: bool = False

    @property
    def text(self) -> str:
        return "".join(self.pieces)


async def call_model(turn: Turn, steps: Steps, ask: Ask) -> Said:
    """Makes the call. Raises ApiError.

    The first of a turn is made directly: it waits for nothing. One that broke before its first token is made once
    more, as a step of the flow. One that the model found too long is made again with the newer half of the messages,
    until only the newest is left.
    """
    name, messages, retried = ask.name, ask.messages, False
    while True:
        said = Said()
        try:
            async with turn.transcript.step(name, kind="model_call") as note:
                await _made(turn, steps, ask, _Attempt(name, messages, said, note))
        except ApiError as error:
            if said.pieces:
                raise
            if exceeds_context(error):
                shorter = newer_half(messages)
                if shorter is None:
                    raise message_too_long(error.detail) from error
                turn.transcript.dropped += len(messages) - len(shorter)
                messages, name = shorter, MODEL_CALL_SHORTER
            elif worth_retrying(error) and not retried:
                name, retried = MODEL_CALL_RETRY, True
            else:
                raise
        else:
            return said


def worth_retrying(error: BaseException) -> bool:
    """Whether a call that said nothing yet may go well at once: its engine died, or its connection broke."""
    return isinstance(error, UpstreamFailed) or getattr(error, "code", None) == "model_server_disconnected"


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One try of a call: under which name, with which of its messages, and what it notes."""

    name: str
    messages: tuple[Mapping[str, Any], ...]
    said: Said
    note: StepNote


async def _made(turn: Turn, steps: Steps, ask: Ask, attempt: _Attempt) -> None:
    if not ask.later and attempt.name != MODEL_CALL_RETRY:
        await _listen(turn, ask, attempt)
        return
    remaining = turn.request.timeout_seconds - turn.transcript.elapsed_ms() / 1000
    await steps.run(attempt.name, lambda: _listen(turn, ask, attempt), timeout_seconds=max(1.0, remaining))


async def _listen(turn: Turn, ask: Ask, attempt: _Attempt) -> None:
    """Passes on tokens, notes model, usage and timings. Raises ApiError."""
    said, note = attempt.said, attempt.note
    transcript, began = turn.transcript, turn.transcript.elapsed_ms()
    deltas, held = CallDeltas(turn.limits.calls_at_once), HeldText(ask.names) if ask.names else None
    async with turn.models.stream_chat(
        _body(turn, ask, attempt.messages), outgoing_headers(turn.request.context)
    ) as stream:
        transcript.model = stream.model or transcript.model
        transcript.route = transcript.route or stream.route or None
        note.detail["model"] = transcript.model
        await turn.sink.put(Started(transcript.model or "", transcript.route or ""))
        async for chunk in stream.chunks:
            _note_waits(transcript, note, stream.queue_ms, stream.load_ms)
            text = _take(chunk, turn, deltas, attempt, shown=ask.shown)
            shown = held.take(text) if held is not None and text else text
            if shown:
                note.detail.setdefault("first_token_ms", round(transcript.elapsed_ms() - began, 1))
                await _tell(turn, ask, said, shown)
    said.calls = deltas.calls(cut_off=said.cut_off)
    if held is not None:
        rest, written = held.rest()
        said.calls = said.calls or written
        if rest:
            await _tell(turn, ask, said, rest)


async def _tell(turn: Turn, ask: Ask, said: Said, text: str) -> None:
    transcript = turn.transcript
    if ask.shown and not said.pieces and transcript.said and not transcript.said[-1].endswith("\n"):
        text = "\n\n" + text  # what a later call says is another paragraph
    said.pieces.append(text)
    if not ask.shown:
        return
    if not transcript.said:
        transcript.first_token_ms = transcript.elapsed_ms()
        turn.on_first_output()
    transcript.said.append(text)
    await turn.sink.put(Token(text))


def _body(turn: Turn, ask: Ask, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The OpenAI chat request."""
    body = {"model": ask.model, "messages": list(messages), **turn.request.options, **ask.options}
    return body | {"tools": list(ask.tools)} if ask.tools else body


def _note_waits(transcript: Any, note: StepNote, queue_ms: float | None, load_ms: float | None) -> None:
    """Waits of all calls together; a long one is told late, by the stream."""
    for name, value in (("queue_ms", queue_ms), ("load_ms", load_ms)):
        before = note.detail.get(name)
        if value is not None and value != before:
            note.detail[name] = value
            setattr(transcript, name, (getattr(transcript, name) or 0.0) + value - (before or 0.0))


def _take(chunk: Mapping[str, Any], turn: Turn, deltas: CallDeltas, attempt: _Attempt, *, shown: bool) -> str:
    """The text of an OpenAI chunk; what else it says goes where it belongs."""
    transcript, note = turn.transcript, attempt.note
    transcript.model = transcript.model or chunk.get("model")
    usage = chunk.get("usage")
    if usage:
        prompt, completion = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        transcript.add_usage(prompt, completion)
        note.detail |= {"prompt_tokens": prompt, "completion_tokens": completion}
    text = ""
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        reason = choice.get("finish_reason")
        attempt.said.cut_off = attempt.said.cut_off or reason == "length"
        if shown and reason:
            transcript.finish_reason = reason
        deltas.add(delta.get("tool_calls") or ())
        text += delta.get("content") or ""
    return text
