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
        self._nobody: ClientGone | ClientStalled | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, message: Message) -> None:
        """Waits while the client reads no more. A time limit of its own would cost more than all else at a token."""
        self._sending_since = self._loop.time()
        await self._send(message)
        self._sending_since = None

    async def while_there(self, work: Awaitable[T]) -> T:
        """Does the work and returns its result; ends it and raises ClientGone or ClientStalled when it is for nothing.

        The work is done in the task that asks: one more would cost a first token one more turn of the loop.
        """
        here = asyncio.current_task()
        assert here is not None  # noqa: S101
        watching = asyncio.create_task(self._watch(here))
        self._timer = self._loop.call_later(self._stall_seconds, self._look, here)
        try:
            return await work
        except asyncio.CancelledError:
            if self._nobody is None:
                raise
            here.uncancel()
            raise self._nobody from None
        finally:
            watching.cancel()
            self._timer.cancel()

    async def _watch(self, worker: asyncio.Task[Any]) -> None:
        await disconnected(self._receive)
        self._end(worker, ClientGone())

    def _end(self, worker: asyncio.Task[Any], why: ClientGone | ClientStalled) -> None:
        if self._nobody is None:
            self._nobody = why
            worker.cancel()

    def _look(self, worker: asyncio.Task[Any]) -> None:
        """Comes back when the write that is under way now would be too old."""
        now = self._loop.time()
        since = now if self._sending_since is None else self._sending_since
        left = since + self._stall_seconds - now
        if left <= 0:
            self._end(worker, ClientStalled())
        else:
            self._timer = self._loop.call_later(left, self._look, worker)


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
