"""The client's end of an answer: whether it is still there, whether it still reads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from starlette.types import Message, Receive, Scope, Send

from wire.serve import abort_connection

log = logging.getLogger("models_node.client")

T = TypeVar("T")

LONGEST_SECONDS = 3600.0


class ClientGone(Exception):
    """Nobody is there any more to read the answer."""


class ClientStalled(Exception):
    """The client is there, but has not read for longer than it may."""


class Client:
    """Sends to the client, and does work for as long as it is there and reads. stall_seconds: how long it may read
    nothing while there is something to send.
    """

    def __init__(self, receive: Receive, send: Send, stall_seconds: float) -> None:
        self._receive = receive
        self._send = send
        self._stall_seconds = stall_seconds
        self._loop = asyncio.get_running_loop()
        self._sending_since: float | None = None
        self._stalled: asyncio.Future[None] = self._loop.create_future()

    async def send(self, message: Message) -> None:
        """Waits while the client reads no more. A time limit of its own would cost more than all else at a token."""
        self._sending_since = self._loop.time()
        await self._send(message)
        self._sending_since = None

    async def while_there(self, work: Awaitable[T]) -> T:
        """Does the work and returns its result; cancels it and raises ClientGone or ClientStalled when it is for
        nothing.
        """
        working = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(disconnected(self._receive))
        timer = self._loop.call_later(self._stall_seconds, self._look)
        try:
            either: set[asyncio.Future[Any]] = {working, watching, self._stalled}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return await working
            raise ClientStalled if self._stalled.done() else ClientGone
        finally:
            timer.cancel()
            self._stalled.cancel()
            for task in (working, watching):
                task.cancel()
            await asyncio.gather(working, watching, return_exceptions=True)

    def _look(self) -> None:
        """Comes back when the write that is under way now would be too old."""
        if self._stalled.done():
            return
        now = self._loop.time()
        since = now if self._sending_since is None else self._sending_since
        left = since + self._stall_seconds - now
        if left <= 0:
            self._stalled.set_result(None)
        else:
            self._loop.call_later(left, self._look)


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """The same for work that sends nothing: raises ClientGone when the client disconnects first."""
    return await Client(receive, _sends_nothing, LONGEST_SECONDS).while_there(work)


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def hang_up(scope: Scope, receive: Receive) -> None:
    """Ends the connection of a client that does not read, without waiting until it does."""
    log.warning("a client that read no more was cut off", extra={"client": scope.get("client")})
    if abort_connection(scope):
        await disconnected(receive)


async def start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def _sends_nothing(_: Message) -> None:
    raise NotImplementedError
