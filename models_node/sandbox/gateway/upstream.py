"""The way into a sandbox and back: one HTTP/1.1 request on a unix socket of its own, both directions as they come.

A connection is made for each request and never kept: it costs a tenth of a millisecond, and an agent that has been
taken over by user code cannot mix up two answers. Nothing it says is trusted: heads are bounded, what is no HTTP ends
the exchange, and whoever reads bounds bytes and time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import httptools

from models_node.sandbox.errors import AgentUnreachable

CONNECT_SECONDS = 5.0
HELD_BYTES = 256 * 2**10  # of an answer, before its sender is held back
HEAD_BYTES = 32 * 2**10

Headers = Sequence[tuple[bytes, bytes]]


class Exchange(asyncio.Protocol):
    """One request. `open`, `send` while there is more, `head`, then `read` until it is empty; `close` at any time, by
    anybody. All but `close` raise AgentUnreachable."""

    def __init__(self, socket: Path) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []  # names in lower case
        self._socket = socket
        self._parser = httptools.HttpResponseParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._held = self._head_bytes = self._header_bytes = 0
        self._paused = self._blocked = self._head = self._ended = self._chunked = False
        self._broken: AgentUnreachable | None = None

    async def open(self, method: str, target: str, headers: Headers, body: bytes | None) -> None:
        """Connects and sends the request. body: all of it; None: it comes with `send`."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._loop.create_unix_connection(lambda: self, str(self._socket))
        except OSError as error:  # also a TimeoutError
            raise AgentUnreachable(repr(error)) from None
        lines = [f"{method} {target} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\n".encode("ascii")]
        lines += [name + b": " + value + b"\r\n" for name, value in headers]
        if body is not None:
            lines.append(b"content-length: %d\r\n\r\n" % len(body) + body)
        else:
            self._chunked = not any(name == b"content-length" for name, _ in headers)
            lines.append(b"transfer-encoding: chunked\r\n\r\n" if self._chunked else b"\r\n")
        self._write(b"".join(lines))

    async def send(self, piece: bytes, *, last: bool) -> None:
        """Waits while the sandbox does not read. Of an answer that has ended already, the rest goes nowhere."""
        if self._ended:
            return
        if self._chunked:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
            self._write(framed + (b"0\r\n\r\n" if last else b""))
        elif piece:
            self._write(piece)
        while self._blocked and not self._ended:
            if self._broken is not None:
                raise self._broken
            self._writer = self._loop.create_future()
            await self._writer

    async def head(self) -> None:
        """Returns when `status` and `headers` are there."""
        while not self._head:
            await self._news()

    async def read(self) -> bytes:
        """What has come since the last call, at least a byte; empty at the end."""
        while not self._pieces:
            if self._ended:
                return b""
            await self._news()
        found = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return found

    def close(self) -> None:
        """Breaks the connection: the agent stops what it does for it."""
        self._break(AgentUnreachable("it was closed here", begun=self._head))
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    async def _news(self) -> None:
        if self._broken is not None:
            raise self._broken
        self._reader = self._loop.create_future()
        await self._reader

    def _write(self, data: bytes) -> None:
        if self._broken is not None:
            raise self._broken
        if self._transport is not None:
            self._transport.write(data)

    def _break(self, error: AgentUnreachable) -> None:
        self._broken = self._broken or error
        self._wake()

    def _wake(self) -> None:
        for waiter in (self._reader, self._writer):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        self._reader = self._writer = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._wake()

    def data_received(self, data: bytes) -> None:
        if not self._head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
            if not self._head and self._head_bytes > HEAD_BYTES:
                raise httptools.HttpParserError("its head is too long")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._ended:  # what comes after a whole answer is nobody's
                self._break(AgentUnreachable(f"it does not speak HTTP: {error!r}", begun=self._head))
            self.close()
        self._wake()

    def eof_received(self) -> None:
        if self._head and not self._ended and not self._framed():
            self._ended = True  # an answer without a length ends with its connection
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._blocked = False
        if not self._ended:
            words = f"the connection broke{f' ({exc})' if exc else ''}"
            self._break(AgentUnreachable(words, begun=self._head))
        self._wake()

    def _framed(self) -> bool:
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

    # httptools' callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEAD_BYTES:
            raise ValueError("its headers are too long")
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # interim: the answer is still to come
            self.headers.clear()
            return
        self.status = status
        self._head = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._held += len(body)
        if self._held > HELD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self._head:
            self._ended = True


async def ask(socket: Path, method: str, path: str, body: bytes = b"", *, most_bytes: int = 64 * 2**10) -> int:
    """One of the gateway's own questions to an agent: the answer's status, its body read and dropped.

    Raises AgentUnreachable. No time limit of its own.
    """
    exchange = Exchange(socket)
    try:
        await exchange.open(method, path, [(b"content-type", b"application/json")], body)
        await exchange.head()
        read = 0
        while piece := await exchange.read():
            read += len(piece)
            if read > most_bytes:
                raise AgentUnreachable("its answer is too long", begun=True)
        return exchange.status
    finally:
        exchange.close()
