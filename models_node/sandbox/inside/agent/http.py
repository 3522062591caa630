"""The little HTTP that the agent needs on top of ASGI: whole JSON bodies in, JSON and text out."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from .errors import BadRequest, RequestError, TooLarge, TooSlow

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ClientGone(Exception):
    """The client closed the connection before its request was read."""


def header(scope: Scope, name: bytes) -> str:
    """The value of a header (its name in lower case), or an empty string."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return ""


def query(scope: Scope) -> dict[str, str]:
    """The query's parameters; of repeated ones the first."""
    pairs = parse_qsl(bytes(scope["query_string"]).decode("latin-1"), keep_blank_values=True)
    return dict(reversed(pairs))


async def next_chunk(receive: Receive, stall_seconds: float) -> tuple[bytes, bool]:
    """The body's next piece, and whether more follows. Raises TooSlow, ClientGone."""
    try:
        message = await asyncio.wait_for(receive(), stall_seconds)
    except TimeoutError:
        raise TooSlow(f"the body brought nothing for {stall_seconds:g} s") from None
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


async def json_body(receive: Receive, *, max_bytes: int, stall_seconds: float) -> dict[str, Any]:
    """The body's JSON object; an empty body is an empty object. Raises BadRequest, TooLarge, TooSlow, ClientGone."""
    body = bytearray()
    more = True
    while more:
        chunk, more = await next_chunk(receive, stall_seconds)
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(f"the body is larger than {max_bytes} bytes")
    if not body:
        return {}
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest("the body must be a JSON object")
    return value


async def answer(
    send: Send, status: int, body: bytes = b"", content_type: str = "application/json", close: bool = False
) -> None:
    """A whole response."""
    headers = [(b"content-length", str(len(body)).encode())] if status != 204 else []
    if body:
        headers.append((b"content-type", content_type.encode()))
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def answer_json(send: Send, value: Any, status: int = 200) -> None:
    """A whole JSON response."""
    await answer(send, status, orjson.dumps(value))


async def answer_error(send: Send, error: RequestError) -> None:
    """An error as envd tells it. The connection is closed where the body may not have been read to its end."""
    body = orjson.dumps({"code": error.status, "message": str(error)})
    await answer(send, error.status, body, close=error.status in (408, 413, 507))
