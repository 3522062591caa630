"""A request at its backend: the place at the model, the connection, the reply's bytes, and what each failure means.

Bytes pass untouched. A stream is passed on in whole events, so that one that breaks can end with an event of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass

from models_node.catalogue import ModelEntry
from models_node.errors import engine_died, server_stopping
from models_node.residency.decide import Priority
from models_node.residency.messages import Lease, Progress
from models_node.residency.pool import Pool
from models_node.routing.router import Route
from models_node.server import metrics
from models_node.server.backends import BackendBroken, Backends, Reply
from models_node.server.waiting import WaitingTimes
from wire.context import outgoing_headers
from wire.errors import ApiError, UpstreamFailed, error_of

log = logging.getLogger("models_node.exchange")

# RFC 9110 §7.6.1, and what is each hop's own.
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade", "content-length", "server", "date", "vary", "traceparent", "x-capibara6-run-id"}
)  # fmt: skip
EVENT_END = b"\n\n"
EVENT_ENDS = (b"\n\n", b"\r\n\r\n")
ERROR_EVENT = b'data: {"error":'
LARGEST_REPLY_BYTES = 64 * 2**20
# vLLM's scale: lower is earlier, and this header goes before what a body says, so that nobody jumps the queue. -1 is
# the probe's.
VLLM_PRIORITY_HEADER = "x-vllm-priority"
VLLM_PRIORITIES = {Priority.INTERACTIVE: 0, Priority.BATCH: 10}


@dataclass(frozen=True, slots=True)
class Forward:
    """One request on its way: where it goes, and what metrics and headers say of it. body: as the backend reads it.
    arrived: `time.perf_counter` when it came."""

    path: str
    operation: str
    body: bytes
    stream: bool
    route: Route
    entry: ModelEntry
    arrived: float
    priority: Priority = Priority.INTERACTIVE

    @property
    def headers(self) -> dict[str, str]:
        """What is known of the answer before there is any."""
        return {"x-capibara6-model": self.entry.id, "x-capibara6-route": self.route.reason}


@dataclass(frozen=True, slots=True)
class ReplyLimits:
    """stall_seconds: how long a client may read nothing of its answer."""

    waiting: WaitingTimes
    stall_seconds: float


class Proxy:
    """Every exchange of this server, so that at its end each can be waited for, then cut."""

    def __init__(self, pool: Pool, backends: Backends, limits: ReplyLimits) -> None:
        self.limits = limits
        self._pool = pool
        self._backends = backends
        self._open: set[Exchange] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def progress(self, model: str) -> Progress:
        """How far a request that waits for the model is; for display."""
        return self._pool.progress(model)

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
    async def exchange(self, forward: Forward) -> AsyncIterator[Exchange]:
        """The backend's reply to `forward`, open. Raises ApiError; everything is given back at the end."""
        model = forward.entry.id
        async with self._pool.lease(model, forward.priority) as lease:
            metrics.QUEUE_TIME.labels(model, forward.priority.value).observe(lease.queue_seconds)
            exchange = Exchange(forward, lease, self._pool, self._reply(forward, lease))
            self._open.add(exchange)
            self._idle.clear()
            try:
                await exchange.open()
                yield exchange
            finally:
                exchange.reply.close()  # not read to its end: the engine sees it close, and stops generating
                self._open.discard(exchange)
                if not self._open:
                    self._idle.set()

    def _reply(self, forward: Forward, lease: Lease) -> Reply:
        headers = {"content-type": "application/json", **outgoing_headers()}
        entry = forward.entry
        if lease.socket is not None:
            headers[VLLM_PRIORITY_HEADER] = str(VLLM_PRIORITIES[forward.priority])
            return self._backends.engine(lease.socket, forward.path, forward.body, headers)
        if entry.remote_key_env:
            headers["authorization"] = f"Bearer {os.environ.get(entry.remote_key_env, '')}"
        return self._backends.remote(f"{(entry.remote_url or '').rstrip('/')}{forward.path}", forward.body, headers)


class Exchange:
    """One reply of a backend, and the place at the model that it is given in."""

    def __init__(self, forward: Forward, lease: Lease, pool: Pool, reply: Reply) -> None:
        self.forward = forward
        self.lease = lease
        self.reply = reply
        self._pool = pool
        self._cut: ApiError | None = None

    async def open(self) -> None:
        """Raises ApiError."""
        try:
            await self.reply.open()
        except BackendBroken as error:
            if error.gone and self.lease.socket is not None and self._cut is None:
                self._pool.broken(self.lease)  # its warden may take a while to say so: nobody else is sent there
            raise self._failure(error) from None

    @property
    def status(self) -> int:
        return self.reply.status

    @property
    def streamed(self) -> bool:
        return self.reply.headers.get("content-type", "").startswith("text/event-stream")

    def headers(self) -> dict[str, str]:
        """The backend's reply headers that may pass, and what this server says of the model, route and waits."""
        passed = {name: value for name, value in self.reply.headers.items() if name not in HOP_BY_HOP}
        return passed | self.forward.headers | {
            "x-capibara6-queue-ms": f"{self.lease.queue_seconds * 1000:.1f}",
            "x-capibara6-load-ms": f"{self.lease.load_seconds * 1000:.1f}",
        }  # fmt: skip

    def cut(self, error: ApiError) -> None:
        """Ends the exchange from outside: whoever reads it gets `error`."""
        self._cut = error
        self.reply.close()

    async def whole(self) -> bytes:
        """The rest of the reply. Raises ApiError when it breaks."""
        pieces: list[bytes] = []
        held = 0
        while piece := await self._read():
            held += len(piece)
            if held > LARGEST_REPLY_BYTES:
                raise UpstreamFailed("the engine's reply is too large", code="reply_too_large")
            pieces.append(piece)
        body = b"".join(pieces)
        if self.status >= 500 and not self.forward.entry.remote and b"EngineDeadError" in body:
            raise self._death()
        if self.status >= 400 and b'"error"' not in body:  # a web framework's own words, not OpenAI's shape
            detail = f"model {self.forward.entry.id!r} does not serve {self.forward.path} (status {self.status})"
            raise error_of(self.status, detail, code="not_served" if self.status == 404 else "engine_refused")
        return body

    async def events(self) -> AsyncIterator[bytes]:
        """The stream's bytes, each piece ending where an event ends. Raises ApiError when it breaks before its end."""
        rest = b""
        while piece := await self._read():
            whole = rest + piece if rest else piece
            rest = b""
            if not whole.endswith(EVENT_END):
                end = _last_event_end(whole)
                whole, rest = whole[:end], whole[end:]
                if len(rest) > LARGEST_REPLY_BYTES:
                    raise UpstreamFailed("an event of the engine's stream is too large", code="reply_too_large")
                if not whole:
                    continue
            if ERROR_EVENT in whole and (before := self._before_death(whole)) is not None:
                if before:
                    yield before
                raise self._death()
            yield whole
        if rest:
            yield rest

    async def _read(self) -> bytes:
        try:
            piece = await self.reply.read()
        except BackendBroken as error:
            raise self._failure(error) from None
        if self._cut is not None:
            raise self._cut
        self.lease.heard()
        return piece

    def _failure(self, error: BackendBroken) -> ApiError:
        """What a broken connection means to the client."""
        if self._cut is not None:
            return self._cut
        if self.forward.entry.remote:
            return UpstreamFailed(f"the backend of {self.forward.entry.id!r} failed: {error}", code="backend_failed")
        log.warning("engine connection broke", extra={"model": self.forward.entry.id, "error": str(error)})
        return engine_died(self.forward.entry.id)

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


def _last_event_end(chunk: bytes) -> int:
    """Where the last whole event ends, 0 when none does. Some backends end lines with CR LF."""
    return max((at + len(mark) for mark in EVENT_ENDS if (at := chunk.rfind(mark)) >= 0), default=0)
