"""Client spans: each exchange of a service client, from its request to the end of its answer, is a span."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import httpx

from wire import telemetry
from wire.context import RUN_ID_HEADER, TRACE_HEADER
from wire.trace import TraceContext


class TracedTransport(httpx.AsyncBaseTransport):
    """The `traceparent` that comes names the span in hand; the one that goes out names the exchange's own."""

    def __init__(self, inner: httpx.AsyncBaseTransport, service: str) -> None:
        self._inner = inner
        self._service = service

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        around = TraceContext.parse(request.headers.get(TRACE_HEADER))
        if around is None:
            return await self._inner.handle_async_request(request)
        exchange = _Exchange(request, around, self._service)
        request.headers[TRACE_HEADER] = exchange.trace.header
        try:
            reply = await self._inner.handle_async_request(request)
        except BaseException as error:
            exchange.end(error=type(error).__name__)
            raise
        exchange.status = reply.status_code
        reply.stream = _Told(reply.stream, exchange)  # type: ignore[arg-type]
        return reply

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Exchange:
    def __init__(self, request: httpx.Request, around: TraceContext, service: str) -> None:
        self.trace = around.child()
        self.status: int | None = None
        self._parent = around.span_id
        self._began = time.time_ns()
        self._ended = False
        self._name = f"{request.method} {request.url.path}"
        self._attributes: dict[str, telemetry.Value | None] = {
            "http.request.method": request.method,
            "server.address": request.url.host,
            "server.port": request.url.port,
            "url.path": request.url.path,
            "peer.service": service,
            "capibara6.run_id": request.headers.get(RUN_ID_HEADER),
        }

    def end(self, error: str | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        if error is None and self.status is not None and self.status >= 400:
            error = str(self.status)
        attributes = {**self._attributes, "http.response.status_code": self.status}
        telemetry.record(
            self._name,
            self.trace,
            parent=self._parent,
            kind="client",
            began_ns=self._began,
            attributes=attributes,
            error=error,
        )


class _Told(httpx.AsyncByteStream):
    """A reply's bytes; their end, or their being given up, is the exchange's."""

    def __init__(self, inner: httpx.AsyncByteStream, exchange: _Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except Exception as error:
            self._exchange.end(error=type(error).__name__)
            raise

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._exchange.end()
