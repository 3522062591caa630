"""The reply to a request that a model answers: the backend's own, as it comes, cancelled when its client goes away.

Until the first byte has gone out every failure is an error reply of its own status. After that a stream ends with one
error event and without `[DONE]`, on a whole event.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from models_node.server import metrics
from models_node.server.client import Client, ClientGone, ClientStalled, hang_up, start
from models_node.server.exchange import Exchange, Forward, Proxy
from models_node.server.waiting import StreamStart, describe
from wire.errors import ApiError, error_of, openai_error, openai_response
from wire.sse import encode

USAGE = b'"usage":{'


class StreamBroken(Exception):
    """A stream ended with an error event, which the client has been sent."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class ProxyReply(Response):
    def __init__(self, proxy: Proxy, forward: Forward) -> None:
        super().__init__()
        self._proxy = proxy
        self._forward = forward
        self._lease_at: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the backend's reply, or an error of OpenAI's shape."""
        error_type = ""
        forward = self._forward
        client = Client(receive, send, self._proxy.limits.stall_seconds)
        answer = self._stream if forward.stream else self._whole
        try:
            await client.while_there(answer(client.send))
        except ClientGone:
            error_type = "client_gone"
        except ClientStalled:
            error_type = "client_stalled"
            await hang_up(scope, receive)
        except asyncio.CancelledError:
            error_type = "cancelled"
            raise
        except ApiError as error:
            error_type = error.code
            await openai_response(error)(scope, receive, send)
        except StreamBroken as broken:
            error_type = broken.code
        finally:
            metrics.answered(forward.operation, forward.entry.id, time.perf_counter() - forward.arrived, error_type)

    async def _whole(self, send: Send) -> None:
        async with self._proxy.exchange(self._forward) as exchange:
            body = await exchange.whole()
            await start(send, exchange.status, exchange.headers() | {"content-length": str(len(body))})
            await send({"type": "http.response.body", "body": body})
        if USAGE in body:
            self._count(body)

    async def _stream(self, send: Send) -> None:
        beginning = StreamStart(send, self._forward.headers, self._proxy.limits.waiting, self._told)
        try:
            async with self._proxy.exchange(self._forward) as exchange:
                self._lease_at = time.perf_counter()
                if exchange.streamed:
                    await self._pass(exchange, beginning, send)
                else:
                    await self._pass_whole(exchange, beginning, send)
        except ApiError as error:
            if not await beginning.already():
                raise
            await send({"type": "http.response.body", "body": encode(openai_error(error)), "more_body": False})
            raise StreamBroken(error.code) from None
        finally:
            await beginning.stop()

    async def _pass(self, exchange: Exchange, beginning: StreamStart, send: Send) -> None:
        """The stream of the engine. What breaks after its first piece is told here, as an event."""
        forward, first_at = self._forward, 0.0
        usage = b""
        try:
            async for piece in exchange.events():
                if not first_at:
                    first_at = time.perf_counter()
                    metrics.first_token(forward.operation, forward.entry.id, first_at - forward.arrived)
                    await beginning.answer(exchange.status, exchange.headers(), exchange.lease)
                if USAGE in piece:
                    usage = piece
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except ApiError as error:
            if not first_at:
                raise
            await send({"type": "http.response.body", "body": encode(openai_error(error)), "more_body": False})
            raise StreamBroken(error.code) from None
        if not first_at:
            await beginning.answer(exchange.status, exchange.headers(), exchange.lease)
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        if usage:
            self._count(usage[usage.rindex(b"data: ", 0, usage.index(USAGE)) + 6 :].partition(b"\n")[0], first_at)

    async def _pass_whole(self, exchange: Exchange, beginning: StreamStart, send: Send) -> None:
        """A reply that is no stream although one was asked for: a refusal of the engine's."""
        body = await exchange.whole()
        if not await beginning.already():
            await start(send, exchange.status, exchange.headers() | {"content-length": str(len(body))})
            await send({"type": "http.response.body", "body": body})
            return
        code = "engine_refused"
        if exchange.status < 400 or not body.startswith(b'{"error"'):
            error = error_of(max(exchange.status, 400), "the backend's answer is not a stream", code=code)
            body = json.dumps(openai_error(error)).encode()
        await send({"type": "http.response.body", "body": b"data: " + body + b"\n\n", "more_body": False})
        raise StreamBroken(code)

    def _told(self) -> str:
        entry = self._forward.entry
        since = self._lease_at or self._forward.arrived
        waited = time.perf_counter() - since
        return describe(entry.id, self._proxy.progress(entry.id), waited, granted=self._lease_at is not None)

    def _count(self, data: bytes, first_at: float = 0.0) -> None:
        """Tokens as the engine itself counts them, once an answer."""
        try:
            usage: dict[str, Any] = json.loads(data)["usage"]
            written = int(usage.get("completion_tokens") or usage.get("output_tokens") or 0)
            read = int(usage.get("prompt_tokens") or usage.get("input_tokens") or 0)
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # the model spoke of usage, or the API keeps it elsewhere
        metrics.tokens(self._forward.operation, self._forward.entry.id, read, written)
        if first_at and written > 1:
            spread = (time.perf_counter() - first_at) / (written - 1)
            metrics.TIME_PER_TOKEN.labels(self._forward.operation, self._forward.entry.id).observe(spread)
