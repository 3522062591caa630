"""Passing a request to its model's engine and the bytes back, untouched.

A reply becomes ours only once the engine has said something: until its first bytes every failure is a proper error
reply. After them a stream that breaks ends, on a whole event, with one `error` event and without `[DONE]`. A client
that goes away cancels the work, which closes the connection to the engine, which stops generating.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import aiohttp
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from models_node.catalogue import ModelEntry
from models_node.errors import engine_died, server_stopping
from models_node.residency.messages import Lease
from models_node.residency.pool import Pool
from models_node.routing.router import Route
from models_node.server import metrics
from wire.context import outgoing_headers
from wire.errors import ApiError, UpstreamFailed, error_of, openai_error, openai_response
from wire.sse import encode

log = logging.getLogger("models_node.proxy")

T = TypeVar("T")

# RFC 9110 §7.6.1, and what is each hop's own.
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade", "content-length", "server", "date", "vary", "traceparent", "x-capibara6-run-id"}
)  # fmt: skip
# What a connection to a unix socket says once no process listens on it any more.
GONE_ERRNOS = frozenset({errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE})
EVENT_END = b"\n\n"
EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
ERROR_EVENT = b'data: {"error":'
LARGEST_REPLY_BYTES = 64 * 2**20
NO_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10)


class ClientGone(Exception):
    """Nobody is there any more to read the answer."""


@dataclass(frozen=True, slots=True)
class Forward:
    """One request on its way: where it goes, and what metrics and headers say of it. body: as the backend reads it."""

    path: str
    operation: str
    body: bytes
    stream: bool
    route: Route
    entry: ModelEntry
    arrived: float


class Backends:
    """HTTP sessions: one for each running engine's socket, one for all remote backends."""

    def __init__(self) -> None:
        self._by_socket: dict[Path, aiohttp.ClientSession] = {}
        self._remote: aiohttp.ClientSession | None = None
        self._closing: set[asyncio.Task[None]] = set()

    def engine(self, socket: Path) -> aiohttp.ClientSession:
        session = self._by_socket.get(socket)
        if session is None:
            # A connection for each request: opening one on a unix socket takes a tenth of a millisecond, and a kept
            # one that the engine closes at the same moment would look like the engine's death.
            connector = aiohttp.UnixConnector(str(socket), limit=0, force_close=True)
            session = self._by_socket[socket] = aiohttp.ClientSession(
                "http://engine", connector=connector, timeout=NO_TIMEOUT, auto_decompress=False,
                skip_auto_headers=("accept-encoding", "user-agent"),
            )  # fmt: skip
        return session

    def remote(self) -> aiohttp.ClientSession:
        if self._remote is None:
            self._remote = aiohttp.ClientSession(timeout=NO_TIMEOUT, trust_env=False, max_line_size=65536)
        return self._remote

    def forget(self, socket: Path) -> None:
        """The engine behind `socket` is gone."""
        session = self._by_socket.pop(socket, None)
        if session is not None:
            task = asyncio.ensure_future(session.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        for session in [*self._by_socket.values(), *([self._remote] if self._remote else [])]:
            await session.close()
        await asyncio.gather(*self._closing)


class Proxy:
    def __init__(self, pool: Pool, backends: Backends) -> None:
        self._pool = pool
        self._backends = backends
        self._open: set[_Exchange] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    async def drained(self, limit_seconds: float) -> bool:
        """Waits until no answer is being given any more. False when the time was not enough."""
        try:
            await asyncio.wait_for(self._idle.wait(), limit_seconds)
        except TimeoutError:
            return False
        return True

    def cut(self) -> None:
        """Ends every answer that is still being given, each with an error of its own shape."""
        for exchange in tuple(self._open):
            exchange.cut(server_stopping())

    @contextlib.asynccontextmanager
    async def exchange(self, forward: Forward) -> AsyncIterator[_Exchange]:
        """The engine's reply to `forward`, open. Raises ApiError; everything is given back at the end."""
        async with self._pool.lease(forward.entry.id) as lease:
            metrics.QUEUE_TIME.labels(forward.entry.id).observe(lease.queue_seconds)
            exchange = _Exchange(forward, lease, self._pool)
            self._open.add(exchange)
            self._idle.clear()
            try:
                async with self._send(forward, lease, exchange) as reply:
                    exchange.reply = reply
                    yield exchange
            finally:
                self._open.discard(exchange)
                if not self._open:
                    self._idle.set()

    @contextlib.asynccontextmanager
    async def _send(self, forward: Forward, lease: Lease, exchange: _Exchange) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"content-type": "application/json", **outgoing_headers()}
        entry = forward.entry
        if lease.socket is not None:
            request = self._backends.engine(lease.socket).post(forward.path, data=forward.body, headers=headers)
        else:
            if entry.remote_key_env:
                headers["authorization"] = f"Bearer {os.environ.get(entry.remote_key_env, '')}"
            url = f"{(entry.remote_url or '').rstrip('/')}{forward.path}"
            request = self._backends.remote().post(url, data=forward.body, headers=headers, allow_redirects=False)
        exchange.opening = asyncio.ensure_future(_opened(request))
        try:
            reply = await exchange.opening
        except (aiohttp.ClientError, OSError) as error:
            if lease.socket is not None and exchange.cut_error is None and means_gone(error):
                self._pool.broken(lease)  # its warden may take a while to say so: nobody else is sent there
            raise exchange.failure(error) from None
        except asyncio.CancelledError as cancelled:
            raise exchange.cut_error or cancelled from None
        try:
            yield reply
        finally:
            reply.close()  # not read to its end: the engine sees the connection close, and stops generating


class _Exchange:
    """One open reply of a backend."""

    def __init__(self, forward: Forward, lease: Lease, pool: Pool) -> None:
        self.forward = forward
        self.lease = lease
        self._pool = pool
        self.opening: asyncio.Future[aiohttp.ClientResponse] | None = None
        self.reply: aiohttp.ClientResponse | None = None
        self.cut_error: ApiError | None = None

    @property
    def status(self) -> int:
        return self._reply.status

    @property
    def streamed(self) -> bool:
        return self._reply.content_type == "text/event-stream"

    def headers(self) -> dict[str, str]:
        """The backend's reply headers that may pass, and what this server says of the model, route and waits."""
        passed = {name.lower(): value for name, value in self._reply.headers.items()}
        if self.forward.entry.remote:  # the session for those has decoded what it read
            passed.pop("content-encoding", None)
        return {name: value for name, value in passed.items() if name not in HOP_BY_HOP} | {
            "x-capibara6-model": self.forward.entry.id,
            "x-capibara6-route": self.forward.route.reason,
            "x-capibara6-queue-ms": f"{self.lease.queue_seconds * 1000:.1f}",
            "x-capibara6-load-ms": f"{self.lease.load_seconds * 1000:.1f}",
        }

    def cut(self, error: ApiError) -> None:
        """Ends the exchange from outside: whoever reads it gets `error`."""
        self.cut_error = error
        if self.reply is not None:
            self.reply.close()
        elif self.opening is not None:
            self.opening.cancel()

    def failure(self, error: Exception) -> ApiError:
        """What a broken connection means to the client."""
        if self.cut_error is not None:
            return self.cut_error
        if self.forward.entry.remote:
            return UpstreamFailed(f"the backend of {self.forward.entry.id!r} failed: {error}", code="backend_failed")
        log.warning("engine connection broke", extra={"model": self.forward.entry.id, "error": repr(error)})
        return engine_died(self.forward.entry.id)

    async def whole(self) -> bytes:
        """The rest of the reply. Raises ApiError when it breaks."""
        try:
            body = b"".join([chunk async for chunk in self._limited()])
        except (aiohttp.ClientError, OSError) as error:
            raise self.failure(error) from None
        if self.cut_error is not None:
            raise self.cut_error
        if self.status >= 500 and not self.forward.entry.remote and b"EngineDeadError" in body:
            raise self._death()
        if self.status >= 400 and b'"error"' not in body:  # a web framework's own words, not OpenAI's shape
            detail = f"model {self.forward.entry.id!r} does not serve {self.forward.path} (status {self.status})"
            raise error_of(self.status, detail, code="not_served" if self.status == 404 else "engine_refused")
        return body

    async def events(self) -> AsyncIterator[bytes]:
        """The stream's bytes, each piece ending where an event ends. Raises ApiError when it breaks before its end."""
        rest = b""
        try:
            async for chunk in self._reply.content.iter_any():
                rest += chunk
                end = _last_event_end(rest)
                if end == 0:
                    continue
                whole, rest = rest[:end], rest[end:]
                if ERROR_EVENT in whole and (before := self._before_death(whole)) is not None:
                    if before:
                        yield before
                    raise self._death()
                yield whole
        except (aiohttp.ClientError, OSError) as error:
            raise self.failure(error) from None
        if self.cut_error is not None:
            raise self.cut_error
        if rest:
            yield rest

    def _death(self) -> ApiError:
        """The engine said that its core is dead: so does this, to the pool and to the client."""
        self._pool.broken(self.lease)
        return engine_died(self.forward.entry.id)

    def _before_death(self, whole: bytes) -> bytes | None:
        """vLLM tells a stream of its core's death by an error event and `[DONE]`: what came before it, or None."""
        start = whole.index(ERROR_EVENT)
        if self.forward.entry.remote or (start and not whole.endswith(EVENT_END, 0, start)):
            return None
        return whole[:start] if b"EngineCore" in whole[start:] or b"EngineDead" in whole[start:] else None

    async def _limited(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._reply.content.iter_any():
            read += len(chunk)
            if read > LARGEST_REPLY_BYTES:
                raise UpstreamFailed("the engine's reply is too large", code="reply_too_large")
            yield chunk

    @property
    def _reply(self) -> aiohttp.ClientResponse:
        assert self.reply is not None  # noqa: S101
        return self.reply


class ProxyReply(Response):
    """A reply that is the engine's: answered as it comes, cancelled when the client goes away."""

    def __init__(self, proxy: Proxy, forward: Forward) -> None:
        super().__init__()
        self._proxy = proxy
        self._forward = forward

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the engine's reply, or an error of OpenAI's shape."""
        error_type = ""
        forward = self._forward
        labels = (forward.operation, forward.entry.id)
        try:
            await while_connected(receive, self._answer(scope, receive, send))
        except ClientGone:
            error_type = "client_gone"
        except asyncio.CancelledError:
            error_type = "cancelled"
            raise
        except ApiError as error:
            error_type = error.code
            await openai_response(error)(scope, receive, send)
        except StreamBroken as broken:
            error_type = broken.error.code
        finally:
            seconds = time.perf_counter() - forward.arrived
            metrics.REQUEST_DURATION.labels(*labels, error_type).observe(seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._proxy.exchange(self._forward) as exchange:
            if exchange.streamed:
                await self._stream(exchange, send)
            else:
                body = await exchange.whole()
                await start(send, exchange.status, exchange.headers() | {"content-length": str(len(body))})
                await send({"type": "http.response.body", "body": body})

    async def _stream(self, exchange: _Exchange, send: Send) -> None:
        forward = self._forward
        started = False
        try:
            async for piece in exchange.events():
                if not started:
                    seconds = time.perf_counter() - forward.arrived
                    metrics.TIME_TO_FIRST_TOKEN.labels(forward.operation, forward.entry.id).observe(seconds)
                    await start(send, exchange.status, exchange.headers())
                    started = True
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except ApiError as error:
            if not started:
                raise
            await send({"type": "http.response.body", "body": encode(openai_error(error)), "more_body": False})
            raise StreamBroken(error) from None
        if not started:
            await start(send, exchange.status, exchange.headers())
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class StreamBroken(Exception):
    """A stream ended with an error event, which the client has been sent."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.detail)
        self.error = error


async def start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """Does the work and returns its result; cancels it and raises ClientGone when the client disconnects first."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return await working
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def means_gone(error: Exception) -> bool:
    """Whether an engine that broke a connection before it replied is gone, and not only busy, nor we out of files."""
    if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
        return True
    return isinstance(error, OSError) and error.errno in GONE_ERRNOS


def _last_event_end(chunk: bytes) -> int:
    """Where the last whole event ends, 0 when none does. Some backends end lines with CR LF."""
    return max((at + len(mark) for mark in EVENT_ENDS if (at := chunk.rfind(mark)) >= 0), default=0)


async def _opened(request: Awaitable[aiohttp.ClientResponse]) -> aiohttp.ClientResponse:
    return await request


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
