"""Routes of the team's earlier model servers, in their shapes, with real models and real status codes behind them.

`/api/generate` speaks Ollama's protocol: one JSON object, or with `stream: true` one JSON object a line. It does not
stream unless asked to: the servers it stands in for never did.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from models_node.residency.decide import State
from models_node.server import metrics
from models_node.server.client import Client, ClientGone, ClientStalled, hang_up, start
from models_node.server.exchange import Forward, Proxy
from models_node.server.proxy import StreamBroken
from models_node.server.requests import Body, parse_body, read_body, read_priority
from models_node.server.state import ModelServer, Server
from wire.errors import ApiError, ValidationFailed, error_of, openai_error, openai_response
from wire.sse import iter_data

router = APIRouter(tags=["older clients"])
VERSION = "1.0"


@router.get("/")
async def root(server: Server) -> dict[str, Any]:
    loaded, available = await counts(server)
    return {
        "name": "capibara6 model server",
        "version": VERSION,
        "models_loaded": loaded,
        "models_available": available,
    }


@router.get("/health")
async def health(server: Server) -> JSONResponse:
    loaded, available = await counts(server)
    ready = (await server.readiness()).ready
    body = {
        "status": "healthy" if ready else "unhealthy",
        "models_loaded": loaded,
        "models_available": available,
        "streaming_enabled": True,
        "routing_enabled": True,
        "consensus_enabled": False,
    }
    return JSONResponse(body, 200 if ready else 503)


@router.get("/models")
async def models(server: Server) -> dict[str, Any]:
    return {
        "models": [
            {
                "id": status.model,
                "description": server.entry(status.model).description,
                "status": "loaded" if status.state is State.READY else "available",
                "load_time": status.last_load_seconds,
            }
            for status in server.pool.status()
        ]
    }


@router.get("/experts")
async def experts(server: Server) -> dict[str, Any]:
    return {
        "experts": [
            {
                "expert_id": status.model,
                "domain": server.entry(status.model).domain,
                "priority": server.entry(status.model).priority,
                "is_loaded": status.state is State.READY,
                "total_requests": status.requests,
                "load_count": status.loads,
                "avg_load_time_s": status.mean_load_seconds,
                "estimated_memory_gb": round(status.estimated_bytes / 2**30, 2),
                "idle_time_s": status.idle_seconds,
            }
            for status in server.pool.status()
        ]
    }


@router.post("/api/generate")
async def generate(request: Request, server: Server) -> Response:
    arrived = time.perf_counter()
    asked = await read_body(request)
    body = parse_body(json.dumps(as_chat(asked)).encode())
    forward = await server.forward(
        body, "/v1/chat/completions", "chat", priority=read_priority(request), arrived=arrived
    )
    return GenerateReply(server.proxy, forward, stream=asked.stream)


async def counts(server: ModelServer) -> tuple[int, int]:
    """Models in memory, models in the catalogue."""
    statuses = server.pool.status()
    return sum(status.state is State.READY for status in statuses), len(server.catalogue.models)


def as_chat(body: Body) -> dict[str, Any]:
    """An Ollama request as a streamed chat completion. Raises ValidationFailed naming a field of a wrong type."""
    content = body.content
    prompt = content.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise ValidationFailed("`prompt` must be a string that is not empty", param="prompt")
    options = content.get("options") or {}
    if not isinstance(options, dict):
        raise ValidationFailed("`options` must be an object", param="options")
    system = content.get("system")
    if system is not None and not isinstance(system, str):
        raise ValidationFailed("`system` must be a string", param="system")
    messages = [{"role": "system", "content": system}] if system else []
    chat: dict[str, Any] = {
        "model": content.get("model"),
        "messages": [*messages, {"role": "user", "content": prompt}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for name, other in (("temperature", None), ("top_p", None), ("seed", None), ("stop", None),
                        ("max_tokens", "num_predict")):  # fmt: skip
        value = content.get(name, options.get(other or name))
        if value is not None:
            chat[name] = value
    return chat


@dataclass(slots=True)
class Generated:
    """What has been generated so far."""

    text: list[str] = field(default_factory=list)
    first_at: float | None = None
    prompt_tokens: int = 0
    tokens: int = 0
    reason: str = "stop"

    def take(self, chunk: dict[str, Any]) -> str:
        """The new text of a chat chunk."""
        usage = chunk.get("usage")
        if usage:
            self.prompt_tokens, self.tokens = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        new = ""
        for choice in chunk.get("choices", []):
            new += choice.get("delta", {}).get("content") or ""
            self.reason = choice.get("finish_reason") or self.reason
        if new:
            self.first_at = self.first_at or time.perf_counter()
            self.text.append(new)
        return new


class GenerateReply(Response):
    """Ollama's reply made from a chat completion's stream; times in nanoseconds."""

    def __init__(self, proxy: Proxy, forward: Forward, *, stream: bool) -> None:
        super().__init__()
        self._proxy = proxy
        self._forward = forward
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the reply; errors before its first line have OpenAI's shape."""
        error_type = ""
        client = Client(receive, send, self._proxy.limits.stall_seconds)
        try:
            await client.while_there(self._answer(client.send))
        except ApiError as error:
            error_type = error.code
            await openai_response(error)(scope, receive, send)
        except ClientStalled:
            error_type = "client_stalled"
            await hang_up(scope, receive)
        except ClientGone:
            error_type = "client_gone"
        except StreamBroken as broken:
            error_type = broken.code
        finally:
            seconds = time.perf_counter() - self._forward.arrived
            metrics.answered(self._forward.operation, self._forward.entry.id, seconds, error_type)

    async def _answer(self, send: Send) -> None:
        forward, generated = self._forward, Generated()
        async with self._proxy.exchange(forward) as exchange:
            if not exchange.streamed:
                raise told_by_engine(exchange.status, await exchange.whole())
            headers = forward.headers
            started = False
            try:
                async for text in new_texts(exchange.events(), generated):
                    if self._stream:
                        if not started:
                            await start(send, 200, headers | {"content-type": "application/x-ndjson"})
                            started = True
                        line = {"model": forward.entry.id, "created_at": now(), "response": text, "done": False}
                        await send_line(send, line, more=True)
            except ApiError as error:
                if not started:
                    raise
                await send_line(send, openai_error(error), more=False)
                raise StreamBroken(error.code) from None
            load_seconds = exchange.lease.load_seconds
        last = {
            "model": forward.entry.id,
            "created_at": now(),
            "response": "" if self._stream else "".join(generated.text),
            "done": True,
            "done_reason": generated.reason,
            **durations(forward.arrived, generated, load_seconds),
        }
        if not started:
            kind = "application/x-ndjson" if self._stream else "application/json"
            await start(send, 200, headers | {"content-type": kind})
        await send_line(send, last, more=False)


async def new_texts(events: AsyncIterator[bytes], generated: Generated) -> AsyncIterator[str]:
    """The texts of a chat stream as they come."""
    async for data in iter_data(events):
        if data != "[DONE]" and (text := generated.take(json.loads(data))):
            yield text


def durations(arrived: float, generated: Generated, load_seconds: float) -> dict[str, int]:
    """Ollama's counters, in nanoseconds."""
    ended = time.perf_counter()
    first = generated.first_at or ended
    return {
        "total_duration": int((ended - arrived) * 1e9),
        "load_duration": int(load_seconds * 1e9),
        "prompt_eval_count": generated.prompt_tokens,
        "prompt_eval_duration": int(max(0.0, first - arrived - load_seconds) * 1e9),
        "eval_count": generated.tokens,
        "eval_duration": int((ended - first) * 1e9),
    }


def told_by_engine(status: int, body: bytes) -> ApiError:
    """The engine's refusal as an error of ours."""
    try:
        error = json.loads(body)["error"]
        return error_of(status, str(error["message"]), param=error.get("param"))
    except (ValueError, KeyError, TypeError):
        return error_of(status, "the engine refused the request")


async def send_line(send: Send, line: dict[str, Any], *, more: bool) -> None:
    await send({"type": "http.response.body", "body": json.dumps(line).encode() + b"\n", "more_body": more})


def now() -> str:
    return datetime.now(UTC).isoformat()
