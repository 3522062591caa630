"""How a run is told to a client, a chat turn above all: one JSON object, or server-sent events (design.md §5).

`content` and `done` stand on every event, as older clients read nothing else. A successful JSON reply never has a
top-level `error`, `detail` or `message`: older clients take those for a failure.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from db.records import ToolCallRecord
from flows.code_told import file_url
from flows.conduct import ActiveRun, Ended
from flows.turn import Spoken, SpokenAnswer, Started, Token, ToolCalled, ToolReturned, Transcript, TurnEvent
from wire.errors import ApiError
from wire.sse import HEADERS, MEDIA_TYPE, encode

KEEP_ALIVE = b": waiting\n\n"

ActiveTurn = ActiveRun[TurnEvent, Transcript]
TurnEnded = Ended[Transcript]


def usage(ended: TurnEnded) -> dict[str, int]:
    prompt = ended.account.prompt_tokens or 0
    completion = ended.account.completion_tokens or 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def reply(active: ActiveTurn, ended: TurnEnded) -> dict[str, Any]:
    """The JSON reply of a completed turn: what every generation of clients looks for."""
    said = ended.account
    return {
        "response": said.text,
        "content": said.text,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": said.text},
                "finish_reason": said.finish_reason or "stop",
            }
        ],
        "model": said.model,
        "route": said.route,
        "usage": usage(ended),
        "tokens": usage(ended)["total_tokens"],  # older clients read it where `usage` is missing
        "latency_ms": round(ended.total_ms, 1),
        "timings": timings(ended),
        "conversation_id": str(active.run.conversation_id),
        "run_id": str(active.run.id),
        "tool_calls": [tool_call(record) for record in said.tool_calls],
        **(speech(said.speech) if said.speech is not None else {}),
    }


def speech(answer: SpokenAnswer) -> dict[str, Any]:
    """How the answer was spoken. `code` and `reason` say why it was not; an older client takes no such answer for a
    failed one.
    """
    known: dict[str, Any] = {"status": answer.status, "format": answer.format, "cut": answer.cut}
    if answer.said is not None:
        known |= {"engine": answer.said.engine, "voice": answer.said.voice}
    if answer.file is not None:
        file = answer.file
        known |= {"file_id": str(file.id), "media_type": file.media_type, "size_bytes": file.size_bytes}
        known |= {"duration_seconds": answer.seconds}
    if answer.error is not None:
        known |= {"code": answer.error.code, "reason": answer.error.detail}
    return {"audio_url": file_url(answer.file) if answer.file is not None else None, "audio": known}


def tool_call(record: ToolCallRecord) -> dict[str, Any]:
    """A call as replies, events and histories tell it."""
    return asdict(record)


def timings(ended: TurnEnded) -> dict[str, float | None]:
    said = ended.account
    return {
        "queue_ms": said.queue_ms,
        "load_ms": said.load_ms,
        "first_token_ms": said.first_token_ms,
        "total_ms": ended.total_ms,
    }


def event(active: ActiveTurn, happened: TurnEvent | TurnEnded) -> dict[str, Any]:
    """One event of a stream."""
    ids = {"run_id": str(active.run.id), "conversation_id": str(active.run.conversation_id)}
    match happened:
        case Token(text):
            return {"type": "token", "content": text, "done": False}
        case Spoken(audio, form, sequence, text):
            heard = {"audio": base64.b64encode(audio).decode(), "format": form, "sequence": sequence, "text": text}
            return {"type": "audio", "content": "", "done": False, **heard}
        case Started(model, route):
            return {"type": "start", "content": "", "done": False, "model": model, "route": route, **ids}
        case ToolCalled(call):
            known = {"id": call.id, "name": call.name, "arguments": call.arguments}
            return {"type": "tool_call", "content": "", "done": False, **known}
        case ToolReturned(record):
            known = tool_call(record)
            del known["arguments"]
            return {"type": "tool_result", "content": "", "done": False, **known}
        case Ended(error=None):
            whole = reply(active, happened)
            whole |= {"type": "end", "content": "", "done": True, "full_response": whole.pop("response")}
            del whole["choices"]
            return whole
        case Ended(error=error):
            return {
                "type": "error",
                "content": "",
                "done": True,
                "error": told(error),
                "full_response": happened.account.text,
                "model": happened.account.model,
                **ids,
            }


def told(error: ApiError | None) -> dict[str, Any]:
    if error is None:
        return {}
    known: dict[str, Any] = {"code": error.code, "detail": error.detail, "status": error.status}
    known |= {"param": error.param} if error.param else {}
    known |= {"retry_after_seconds": error.retry_after_seconds} if error.retry_after_seconds is not None else {}
    return known


async def until_gone(receive: Receive) -> None:
    """Returns when the client has gone away. The request's body has been read."""
    while (await receive())["type"] != "http.disconnect":
        continue


@contextmanager
def heard_by(active: ActiveRun[Any, Any], receive: Receive) -> Iterator[None]:
    """Cancels the run when its client goes away meanwhile, or its telling fails."""

    def left(gone: asyncio.Task[None]) -> None:
        if not gone.cancelled():
            active.cancel("client_disconnected")

    gone = asyncio.create_task(until_gone(receive))
    gone.add_done_callback(left)
    try:
        yield
    except BaseException:
        active.cancel("client_disconnected")
        raise
    finally:
        gone.cancel()


async def opened(active: ActiveRun[Any, Any], receive: Receive, seconds: float) -> None:
    """Waits, at most that long, until a stream can begin. Raises what ended the run before it said anything."""
    with heard_by(active, receive):
        ended = await active.opened(seconds)
    if ended is not None and ended.error is not None:
        raise ended.error


class RunStream(Response):
    """Server-sent events of a run, each as `tell` says. A client that goes away cancels it."""

    media_type = MEDIA_TYPE

    def __init__(
        self, active: ActiveRun[Any, Any], keep_alive_seconds: float, tell: Callable[[Any, Any], dict[str, Any]] = event
    ) -> None:
        conversation_id = active.run.conversation_id
        named = {"x-capibara6-conversation-id": str(conversation_id)} if conversation_id is not None else {}
        super().__init__(headers={**HEADERS, **named})
        del self.headers["content-length"]
        self._active = active
        self._tell = tell
        self._keep_alive_seconds = keep_alive_seconds

    def _written(self, happened: Any) -> bytes:
        """What goes out for it; nothing where this stream does not tell of it."""
        return encode(self._tell(self._active, happened))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        active = self._active
        with heard_by(active, receive):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for happened in active.events(self._keep_alive_seconds):
                body = KEEP_ALIVE if happened is None else self._written(happened)
                if body:
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def told_at_once(
    active: ActiveRun[Any, Any], receive: Receive, tell: Callable[[Any, Any], dict[str, Any]] = reply
) -> dict[str, Any]:
    """The JSON reply. Raises the run's error. A client that goes away cancels the run."""
    with heard_by(active, receive):
        ended = await active.ended()
    if ended.error is not None:
        raise ended.error
    return tell(active, ended)
