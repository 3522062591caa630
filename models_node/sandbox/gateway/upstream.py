"""The way into a sandbox and back: one HTTP/1.1 request on a unix socket of its own, both directions as they come.

A connection is made for each request and never kept: it costs a tenth of a millisecond, and an agent that has been
taken over by user code cannot mix up two answers. Reading and writing are apart: an agent that answers and closes
before it has read everything (no space left, too large) is still heard. Nothing it says is trusted: heads are bounded,
what is no HTTP ends the exchange, and whoever reads bounds bytes and time.
"""

from __future__ import annotations

import asyncio
import socket
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

    def __init__(self, path: Path) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []  # names in lower case
        self._path = path
        self._parser = httptools.HttpResponseParser(self)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader: asyncio.Future[None] | None = None
        self._outgoing: socket.socket | None = None
        self._pieces: list[bytes] = []
        self._held = self._head_bytes = self._header_bytes = 0
        self._paused = self._sending = self._head = self._ended = self._chunked = False
        self._broken: AgentUnreachable | None = None

    async def open(self, method: str, target: str, headers: Headers, body: bytes | None) -> None:
        """Connects and sends the request. body: all of it; None: it comes with `send`."""
        await self._connect()
        lines = [f"{method} {target} HTTP/1.1\r\nhost: sandbox\r\nconnection: close\r\n".encode("ascii")]
        lines += [name + b": " + value + b"\r\n" for name, value in headers]
        if body is not None:
            lines.append(b"content-length: %d\r\n\r\n" % len(body) + body)
        else:
            self._chunked = not any(name == b"content-length" for name, _ in headers)
            lines.append(b"transfer-encoding: chunked\r\n\r\n" if self._chunked else b"\r\n")
        await self._write(b"".join(lines))

    async def send(self, piece: bytes, *, last: bool) -> None:
        """Waits while the sandbox does not read. What it does not want any more goes nowhere: its answer says why."""
        if self._chunked:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
            await self._write(framed + (b"0\r\n\r\n" if last else b""))
        elif piece:
            await self._write(piece)

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
        if not self._sending:
            self._stop_writing()

    async def _connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._loop.sock_connect(connection, str(self._path))
                self._outgoing = connection.dup()
                await self._loop.create_unix_connection(lambda: self, sock=connection)
        except OSError as error:  # also a TimeoutError
            connection.close()
            self._stop_writing()
            raise AgentUnreachable(repr(error)) from None

    async def _news(self) -> None:
        if self._broken is not None:
            raise self._broken
        self._reader = self._loop.create_future()
        await self._reader

    async def _write(self, data: bytes) -> None:
        """One at a time; `close` leaves the end of it to the write under way."""
        if self._outgoing is None:
            return
        self._sending = True
        try:
            sent = self._outgoing.send(data)
            if sent < len(data):
                await self._loop.sock_sendall(self._outgoing, memoryview(data)[sent:])
        except BlockingIOError:
            try:
                await self._loop.sock_sendall(self._outgoing, data)
            except OSError:
                self._stop_writing()
        except OSError:
            self._stop_writing()
        finally:
            self._sending = False
            if self._broken is not None:
                self._stop_writing()

    def _stop_writing(self) -> None:
        outgoing, self._outgoing = self._outgoing, None
        if outgoing is not None:
            outgoing.close()

    def _break(self, error: AgentUnreachable) -> None:
        self._broken = self._broken or error
        self._wake()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

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


async def ask(agent: Path, method: str, path: str, body: bytes = b"", *, most_bytes: int = 64 * 2**10) -> int:
    """One of the gateway's own questions to an agent: the answer's status, its body read and dropped.

    Raises AgentUnreachable. No time limit of its own.
    """
    exchange = Exchange(agent)
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
