"""The way to a backend and back: one request at a time on a connection, the reply's bytes as they come.

An engine is asked over its unix socket by a small client of its own: what stands between an engine and a person is
felt at every token, and a general HTTP client costs half a millisecond a request. Remote backends are asked with
aiohttp (TLS, proxies' headers, compression). Both hold back a sender that is faster than its reader.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

import aiohttp
import httptools

CONNECT_SECONDS = 10.0
KEEP_SECONDS = 2.0
KEEP_AT_MOST = 64  # for each engine
HELD_BYTES = 256 * 2**10  # of a reply, before its sender is held back
# What a connection to a unix socket says once no process listens on it any more.
GONE_ERRNOS = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE})


class BackendBroken(Exception):
    """The connection failed or broke. gone: before any of the reply, in a way that says that nobody is there, and not
    that the backend is busy or this process out of files.
    """

    def __init__(self, words: str, *, gone: bool = False) -> None:
        super().__init__(words)
        self.gone = gone


class Reply(Protocol):
    """One request's reply. `open`, then `read` until it is empty; `close` at any time, by anybody."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case."""
        ...

    async def open(self) -> None:
        """Sends the request; returns when the reply's head is there. Raises BackendBroken."""
        ...

    async def read(self) -> bytes:
        """What has come since the last call, at least a byte; empty at the end. Raises BackendBroken."""
        ...

    def close(self) -> None:
        """Breaks the connection: an engine stops generating. Whoever opens or reads gets BackendBroken."""
        ...


class Kept(asyncio.Protocol):
    """A connection that waits for its next request. Dropped when the engine closes it, or says anything."""

    def __init__(self, transport: asyncio.Transport, idle: list[Kept]) -> None:
        self.transport = transport
        self.since = asyncio.get_running_loop().time()
        self._idle = idle
        transport.set_protocol(self)
        idle.append(self)

    def data_received(self, data: bytes) -> None:
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._idle:
            self._idle.remove(self)


class KeptConnections:
    """Connections to engines, kept for a moment after a whole reply. Engines (uvicorn) close theirs after 5 s: one that
    is used again within 2 s and breaks without a word means the engine's death, as a new one that is refused does.
    """

    def __init__(self) -> None:
        self._idle: dict[Path, list[Kept]] = {}

    def take(self, socket: Path) -> asyncio.Transport | None:
        idle = self._idle.get(socket, [])
        now = asyncio.get_running_loop().time()
        while idle:
            kept = idle.pop()
            if now - kept.since <= KEEP_SECONDS and not kept.transport.is_closing():
                return kept.transport
            kept.transport.abort()
        return None

    def keep(self, socket: Path, transport: asyncio.Transport) -> None:
        idle = self._idle.setdefault(socket, [])
        if transport.is_closing() or len(idle) >= KEEP_AT_MOST:
            transport.abort()
        else:
            Kept(transport, idle)

    def forget(self, socket: Path) -> None:
        """The engine is gone."""
        for kept in self._idle.pop(socket, []):
            kept.transport.abort()

    def close(self) -> None:
        for socket in tuple(self._idle):
            self.forget(socket)


class EngineReply(asyncio.Protocol):
    """A reply of an engine."""

    def __init__(self, kept: KeptConnections, socket: Path, path: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._kept = kept
        self._socket = socket
        self._request = request_bytes(path, body, headers)
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._pieces: list[bytes] = []
        self._held = 0
        self._paused = self._heard = self._head = self._ended = self._may_keep = False
        self._broken: BackendBroken | None = None

    async def open(self) -> None:
        if kept := self._kept.take(self._socket):
            kept.set_protocol(self)
            self.connection_made(kept)
        else:
            await self._connect()
        while not self._head:
            await self._news()
        self.status = self._parser.get_status_code()

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._loop.create_unix_connection(lambda: self, str(self._socket))
        except OSError as error:  # also a TimeoutError
            raise BackendBroken(repr(error), gone=error.errno in GONE_ERRNOS) from None

    async def read(self) -> bytes:
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
        self._break(BackendBroken("it was closed here"))
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if self._ended and self._may_keep:
            if self._paused:
                transport.resume_reading()
            self._kept.keep(self._socket, transport)
        else:
            transport.abort()

    async def _news(self) -> None:
        """Waits for anything to happen. Raises BackendBroken when nothing can any more."""
        if self._broken is not None:
            raise self._broken
        self._waiter = self._loop.create_future()
        await self._waiter

    def _break(self, error: BackendBroken) -> None:
        self._broken = self._broken or error
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._broken is not None:  # closed while it was being opened
            self._transport.abort()
            self._transport = None
            return
        self._transport.write(self._request)
        self._request = b""

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._break(BackendBroken(f"it does not speak HTTP: {error!r}"))
            self.close()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended:
            words = "the connection broke" if self._heard else "the connection was closed without a word"
            self._break(BackendBroken(f"{words}{f' ({exc})' if exc else ''}", gone=not self._heard))

    # httptools' callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._head = True
        self._may_keep = self._parser.should_keep_alive()  # asked later it says no

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._held += len(body)
        if self._held > HELD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        self._ended = True


class RemoteReply:
    """A reply of a remote backend."""

    def __init__(self, session: aiohttp.ClientSession, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        self._session = session
        self._url = url
        self._body = body
        self._sent = headers
        self._opening: asyncio.Future[aiohttp.ClientResponse] | None = None
        self._reply: aiohttp.ClientResponse | None = None
        self._closed = False

    @property
    def status(self) -> int:
        return self._reply.status if self._reply else 0

    @property
    def headers(self) -> Mapping[str, str]:
        found = {name.lower(): value for name, value in self._reply.headers.items()} if self._reply else {}
        found.pop("content-encoding", None)  # the session has decoded it
        return found

    async def open(self) -> None:
        if self._closed:
            raise BackendBroken("it was closed here")
        request = self._session.post(self._url, data=self._body, headers=self._sent, allow_redirects=False)
        self._opening = asyncio.ensure_future(_opened(request))
        try:
            self._reply = await self._opening
        except (aiohttp.ClientError, OSError) as error:
            raise BackendBroken(str(error)) from None
        except asyncio.CancelledError:
            self._opening.cancel()
            if self._closed:
                raise BackendBroken("it was closed here") from None
            raise

    async def read(self) -> bytes:
        if self._reply is None or self._closed:
            raise BackendBroken("it was closed here")
        try:
            return await self._reply.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise BackendBroken(str(error)) from None

    def close(self) -> None:
        self._closed = True
        if self._reply is not None:
            self._reply.close()
        elif self._opening is not None:
            self._opening.cancel()


class Backends:
    """Makes replies; keeps connections to engines for a moment, and the one session for remote backends."""

    def __init__(self) -> None:
        self._kept = KeptConnections()
        self._remote: aiohttp.ClientSession | None = None

    def engine(self, socket: Path, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        return EngineReply(self._kept, socket, path, body, headers)

    def remote(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        if self._remote is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
            self._remote = aiohttp.ClientSession(timeout=timeout, trust_env=False, max_line_size=65536)
        return RemoteReply(self._remote, url, body, headers)

    def forget(self, socket: Path) -> None:
        """The engine behind `socket` is gone."""
        self._kept.forget(socket)

    async def close(self) -> None:
        self._kept.close()
        if self._remote is not None:
            await self._remote.close()


def request_bytes(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The request as it goes over the connection. Nothing in it is a client's but the body."""
    lines = [f"POST {path} HTTP/1.1", "host: engine", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


async def _opened(request: aiohttp.client._RequestContextManager) -> aiohttp.ClientResponse:
    return await request
