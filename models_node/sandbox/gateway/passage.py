"""One request's way through the gateway: both directions at once, every wait and every size bounded.

The agent is not trusted to answer, to end, or to stay within sizes; the client is not trusted to send or to read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.types import Message, Receive, Scope, Send

from models_node.sandbox.errors import AgentUnreachable, agent_silent, upload_stalled, upload_too_large
from models_node.sandbox.gateway import metrics
from models_node.sandbox.gateway.headers import Pairs, to_client, to_sandbox
from models_node.sandbox.gateway.limits import (
    EXECUTION_GRACE_SECONDS,
    HEAD_SECONDS,
    LEAST_UPLOAD_BYTES_PER_SECOND,
    MULTIPART_BYTES,
    OUTPUT_FACTOR,
)
from models_node.sandbox.gateway.routes import Kind, Route
from models_node.sandbox.gateway.upstream import Exchange
from stack.settings import Settings
from wire.errors import ApiError
from wire.serve import abort_connection

log = logging.getLogger("models_node.sandbox")

EXIT_NOTICE_SECONDS = 0.5  # an agent's broken connection is seen a little before the end of its sandbox
EXIT_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class PassageLimits:
    """Bytes and seconds, as the settings of these names say."""

    body_bytes: int
    upload_bytes: int
    output_bytes: int
    file_bytes: int
    stall_seconds: float
    client_stall_seconds: float
    execution_seconds: float

    @classmethod
    def of(cls, settings: Settings) -> PassageLimits:
        return cls(
            body_bytes=settings.max_body_bytes,
            upload_bytes=settings.sandbox_upload_bytes,
            output_bytes=settings.sandbox_output_bytes,
            file_bytes=max(settings.sandbox_home_bytes, settings.sandbox_tmp_bytes),
            stall_seconds=settings.sandbox_stall_seconds,
            client_stall_seconds=settings.client_stall_seconds,
            execution_seconds=settings.sandbox_execution_seconds,
        )

    def body(self, kind: Kind) -> int:
        """Of a request."""
        return self.upload_bytes + MULTIPART_BYTES if kind in (Kind.UPLOAD, Kind.INPUT) else self.body_bytes

    def answer(self, kind: Kind) -> int:
        output = OUTPUT_FACTOR * self.output_bytes
        return max(self.file_bytes, output) if kind is Kind.DOWNLOAD else output

    def head_seconds(self, kind: Kind) -> float:
        """From the end of the request to the first of the answer."""
        return self.execution_seconds + EXECUTION_GRACE_SECONDS if kind is Kind.EXECUTE else HEAD_SECONDS

    def quiet_seconds(self, kind: Kind) -> float | None:
        """Longest pause within an answer; None: only the end of the sandbox ends it."""
        return None if kind in (Kind.STREAM, Kind.EXECUTE) else HEAD_SECONDS


class ClientGone(Exception):
    """Nobody is there any more to read the answer."""


class Cut(Exception):
    """The answer ends here, by the gateway's will or because the sandbox broke it off. `str(error)` is for people."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(words)
        self.reason = reason


class Passage:
    """end_of: what ended the sandbox, None while it runs."""

    def __init__(self, route: Route, socket: Path, limits: PassageLimits, end_of: Callable[[], str | None]) -> None:
        self._kind = route.kind
        self._exchange = Exchange(socket)
        self._limits = limits
        self._end_of = end_of
        self._loop = asyncio.get_running_loop()
        self._inbound_error: Exception | None = None
        self._body_sent = asyncio.Event()
        self._started = False
        self._line_ended = True  # of what the client was sent, so that a last line can be added

    async def run(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """False when nobody answered in the sandbox, and the client has been told nothing. Raises ApiError."""
        begun = self._loop.time()
        inbound: asyncio.Task[None] | None = None
        try:
            first = await self._first(receive)
            whole = None if first.get("more_body") else first.get("body", b"")
            target = scope["path"] + (f"?{scope['query_string'].decode('ascii')}" if scope["query_string"] else "")
            headers = to_sandbox(scope["headers"], keep_length=whole is None)
            if whole is not None:
                self._body_sent.set()
            await self._open(scope["method"], target, headers, whole)
            inbound = asyncio.create_task(self._inbound(first, receive, whole is None))
            await self._outbound(scope, send, begun)
        except ClientGone:
            pass
        except Cut as cut:
            await self._tell_cut(cut, scope, send)
        except AgentUnreachable as error:
            return await self._unreachable(error, scope, send)
        finally:
            if inbound is not None:
                inbound.cancel()
                await asyncio.gather(inbound, return_exceptions=True)
            self._exchange.close()
        return True

    # the request

    async def _first(self, receive: Receive) -> Message:
        """The first of the body; most requests come whole."""
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                message = await receive()
        except TimeoutError:
            raise upload_stalled(self._limits.stall_seconds) from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        self._check_size(len(message.get("body", b"")))
        return message

    async def _open(self, method: str, target: str, headers: Pairs, whole: bytes | None) -> None:
        try:
            async with asyncio.timeout(self._limits.stall_seconds):
                await self._exchange.open(method, target, headers, whole)
        except TimeoutError:
            raise agent_silent(self._limits.stall_seconds) from None

    async def _inbound(self, first: Message, receive: Receive, streamed: bool) -> None:
        """Passes the rest of the body on, then waits for the client to leave. Its failure ends the exchange."""
        try:
            if streamed:
                await self._pass_body(first, receive)
            self._body_sent.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            raise ClientGone
        except (ApiError, ClientGone, AgentUnreachable) as error:
            if self._inbound_error is None and not isinstance(error, AgentUnreachable):
                self._inbound_error = error
            if not isinstance(error, AgentUnreachable):
                self._exchange.close()
            self._body_sent.set()

    async def _pass_body(self, first: Message, receive: Receive) -> None:
        stall, open_ended = self._limits.stall_seconds, self._kind is Kind.INPUT
        wait = self._limits.execution_seconds if open_ended else stall
        began, passed, message = self._loop.time(), 0, first
        while True:
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece, more = message.get("body", b""), message.get("more_body", False)
            passed += len(piece)
            self._check_size(passed)
            if not open_ended and self._loop.time() - began > stall + passed / LEAST_UPLOAD_BYTES_PER_SECOND:
                raise upload_stalled(stall)
            try:
                async with asyncio.timeout(stall):
                    await self._exchange.send(piece, last=not more)
                if not more:
                    return
            except TimeoutError:
                raise agent_silent(stall) from None
            try:
                async with asyncio.timeout(wait):
                    message = await receive()
            except TimeoutError:
                raise upload_stalled(wait) from None

    def _check_size(self, size: int) -> None:
        if size <= self._limits.body(self._kind):
            return
        if self._kind in (Kind.UPLOAD, Kind.INPUT):
            raise upload_too_large(self._limits.upload_bytes, "sandbox_upload_bytes")
        raise upload_too_large(self._limits.body_bytes, "max_body_bytes")

    # the answer

    async def _outbound(self, scope: Scope, send: Send, begun: float) -> None:
        kind, exchange = self._kind, self._exchange
        await self._head()
        answered = to_client(exchange.headers)
        await self._send(scope, send, {"type": "http.response.start", "status": exchange.status, "headers": answered})
        self._started = True
        deadline = begun + self._limits.head_seconds(kind) if kind is Kind.EXECUTE else None
        quiet, left = self._limits.quiet_seconds(kind), self._limits.answer(kind)
        while piece := await self._read(deadline, quiet):
            left -= len(piece)
            if left < 0:
                raise Cut("answer_too_large", "The sandbox's answer is larger than it may be, and was cut.")
            await self._send(scope, send, {"type": "http.response.body", "body": piece, "more_body": True})
            self._line_ended = piece.endswith(b"\n")
        await self._send(scope, send, {"type": "http.response.body", "body": b""})

    async def _head(self) -> None:
        limit = self._limits.head_seconds(self._kind)
        try:
            async with asyncio.timeout(None if not self._body_sent.is_set() else limit) as timeout:
                waiting = asyncio.create_task(self._limit_head(timeout, limit)) if timeout.when() is None else None
                try:
                    await self._exchange.head()
                finally:
                    if waiting is not None:
                        waiting.cancel()
        except TimeoutError:
            raise agent_silent(limit) from None
        except AgentUnreachable:
            if self._inbound_error is not None:
                raise self._inbound_error from None
            raise

    async def _limit_head(self, timeout: asyncio.Timeout, seconds: float) -> None:
        await self._body_sent.wait()
        timeout.reschedule(self._loop.time() + seconds)

    async def _read(self, deadline: float | None, quiet: float | None) -> bytes:
        at = self._loop.time() + quiet if quiet is not None else deadline
        try:
            async with asyncio.timeout_at(at):
                return await self._exchange.read()
        except TimeoutError:
            seconds = quiet if quiet is not None else self._limits.execution_seconds
            raise Cut("too_long", f"The sandbox did not end its answer in {seconds:g} s.") from None
        except AgentUnreachable:
            if self._inbound_error is not None:
                raise Cut("client", str(self._inbound_error)) from None
            raise

    async def _send(self, scope: Scope, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(self._limits.client_stall_seconds):
                await send(message)
        except TimeoutError:
            metrics.CUT.labels("client_stalled").inc()
            abort_connection(scope)
            raise ClientGone from None

    # how it may end

    async def _unreachable(self, error: AgentUnreachable, scope: Scope, send: Send) -> bool:
        """Whether the client knows. Waits a moment for the news of the sandbox's end, which says why."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EXIT_NOTICE_SECONDS):
                while self._end_of() is None:  # noqa: ASYNC110 (rare, and short)
                    await asyncio.sleep(EXIT_POLL_SECONDS)
        if not self._started:
            return False
        why = self._end_of()
        words = f"The sandbox ended: {why}." if why else f"The sandbox broke off its answer: {error}."
        await self._tell_cut(Cut("broken", words), scope, send)
        return True

    async def _tell_cut(self, cut: Cut, scope: Scope, send: Send) -> None:
        """An execution ends with an error event where a line can be added; everything else breaks off, so that nobody
        takes it for whole."""
        if isinstance(self._inbound_error, ClientGone):
            return
        metrics.CUT.labels(cut.reason).inc()
        if self._kind is Kind.EXECUTE and self._started and self._line_ended:
            error = {"type": "error", "name": "SandboxError", "value": str(cut), "traceback": str(cut)}
            lines = json.dumps(error) + '\n{"type": "end_of_execution"}\n'
            with contextlib.suppress(ClientGone):
                await self._send(scope, send, {"type": "http.response.body", "body": lines.encode()})
            return
        if not abort_connection(scope):
            raise RuntimeError(str(cut))  # the server ends the connection for it
