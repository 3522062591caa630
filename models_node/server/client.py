"""The client's end of an answer: whether it is still there, whether it still reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import TypeVar

from starlette.types import Message, Receive, Scope, Send

from wire.serve import abort_connection

log = logging.getLogger("models_node.client")

T = TypeVar("T")


class ClientGone(Exception):
    """Nobody is there any more to read the answer."""


class ClientStalled(Exception):
    """The client is there, but has not read for longer than it may."""


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """Does the work and returns its result; cancels it and raises ClientGone when the client disconnects first."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(disconnected(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return await working
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def reading_within(send: Send, seconds: float) -> Send:
    """`send`, which waits while the client reads no more, but no longer than that: then it raises ClientStalled."""

    async def send_in_time(message: Message) -> None:
        try:
            async with asyncio.timeout(seconds):
                await send(message)
        except TimeoutError:
            raise ClientStalled from None

    return send_in_time


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Ends the connection of a client that does not read, without waiting until it does."""
    log.warning("a client that read no more was cut off", extra={"client": scope.get("client")})
    if abort_connection(scope):
        await disconnected(receive)


async def start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
