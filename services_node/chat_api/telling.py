"""How a turn is told to a client: one JSON object, or server-sent events. Shapes: design.md §5.

`content` and `done` stand on every event, as older clients read nothing else. A successful JSON reply never has a
top-level `error`, `detail` or `message`: older clients take those for a failure.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from flows.conduct import ActiveTurn, Ended
from flows.turn import Started, Token
from wire.errors import ApiError
from wire.sse import HEADERS, MEDIA_TYPE, encode

KEEP_ALIVE = b": waiting\n\n"


def usage(ended: Ended) -> dict[str, int]:
    prompt = ended.transcript.prompt_tokens or 0
    completion = ended.transcript.completion_tokens or 0
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def reply(active: ActiveTurn, ended: Ended) -> dict[str, Any]:
    """The JSON reply of a completed turn: what every generation of clients looks for."""
    said = ended.transcript
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
        "tool_calls": [],
    }


def timings(ended: Ended) -> dict[str, float | None]:
    said = ended.transcript
    return {
        "queue_ms": said.queue_ms,
        "load_ms": said.load_ms,
        "first_token_ms": said.first_token_ms,
        "total_ms": ended.total_ms,
    }


def event(active: ActiveTurn, happened: Started | Token | Ended) -> dict[str, Any]:
    """One event of a stream."""
    ids = {"run_id": str(active.run.id), "conversation_id": str(active.run.conversation_id)}
    match happened:
        case Token(text):
            return {"type": "token", "content": text, "done": False}
        case Started(model, route):
            return {"type": "start", "content": "", "done": False, "model": model, "route": route, **ids}
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
                "full_response": happened.transcript.text,
                "model": happened.transcript.model,
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


class TurnStream(Response):
    """Server-sent events of a turn. A client that goes away cancels it."""

    media_type = MEDIA_TYPE

    def __init__(self, active: ActiveTurn, keep_alive_seconds: float) -> None:
        super().__init__(headers={**HEADERS, "x-capibara6-conversation-id": str(active.run.conversation_id)})
        del self.headers["content-length"]
        self._active = active
        self._keep_alive_seconds = keep_alive_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        active = self._active
        gone = asyncio.ensure_future(until_gone(receive))
        gone.add_done_callback(lambda _: active.cancel("client_disconnected"))  # too late for a turn that has ended
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async for happened in active.events(self._keep_alive_seconds):
                body = KEEP_ALIVE if happened is None else encode(event(active, happened))
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()


async def told_at_once(active: ActiveTurn, receive: Receive) -> dict[str, Any]:
    """The JSON reply. Raises the turn's error. A client that goes away cancels the turn."""
    gone = asyncio.ensure_future(until_gone(receive))
    gone.add_done_callback(lambda _: active.cancel("client_disconnected"))
    try:
        ended = await active.ended()
    finally:
        gone.cancel()
    if ended.error is not None:
        raise ended.error
    return reply(active, ended)
