"""OpenAI's routes, served by the engines themselves; this file reads the address, not the letter."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from models_node.residency.messages import ModelStatus
from models_node.server.proxy import ProxyReply
from models_node.server.requests import Body, check_messages, check_present, read_body, read_priority, routing_query
from models_node.server.state import ModelServer, Server, of_request


class StraightRoute(APIRoute):
    """A route whose function takes the request and nothing else: FastAPI's way through dependencies would cost a
    stream's first token a third of a millisecond.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        function: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return function


router = APIRouter(prefix="/v1", tags=["openai"])
answering = APIRouter(prefix="/v1", tags=["openai"], route_class=StraightRoute)
STARTED = int(time.time())


@router.get("/models")
async def models(server: Server) -> dict[str, Any]:
    """Every model of the catalogue; `status` says whether it is in memory now."""
    return {"object": "list", "data": [listed(server, status) for status in server.pool.status()]}


@router.get("/models/{model}")
async def model(model: str, server: Server) -> dict[str, Any]:
    entry = server.entry(model)
    return next(listed(server, status) for status in server.pool.status() if status.model == entry.id)


@answering.post("/chat/completions")
async def chat_completions(request: Request) -> Response:
    return await passed(request, "/v1/chat/completions", "chat", check_messages)


@answering.post("/completions")
async def completions(request: Request) -> Response:
    return await passed(request, "/v1/completions", "text_completion", lambda body: check_present(body, "prompt"))


@answering.post("/responses")
async def responses(request: Request) -> Response:
    return await passed(request, "/v1/responses", "responses", lambda body: check_present(body, "input"))


@answering.post("/embeddings")
async def embeddings(request: Request) -> Response:
    """By the model asked for, else by the most important one that embeds."""
    return await passed(request, "/v1/embeddings", "embeddings", lambda body: check_present(body, "input"), embeds=True)


async def passed(
    request: Request,
    path: str,
    operation: str,
    check: Callable[[Body], None],
    *,
    embeds: bool = False,
) -> Response:
    """Whatever the chosen model's engine answers. operation: OpenTelemetry's name of what is done."""
    arrived, server = time.perf_counter(), of_request(request)
    priority = read_priority(request)
    body = await read_body(request)
    check(body)
    forward = await server.forward(body, path, operation, priority=priority, arrived=arrived, embeds=embeds)
    return ProxyReply(server.proxy, forward)


@router.post("/route")
async def route(request: Request, server: Server) -> dict[str, Any]:
    """Explains the choice a chat would meet, without running it, and says what the chosen model can do."""
    chosen = await server.router.route(routing_query(await read_body(request)))
    entry = server.entry(chosen.model)
    return {
        "model": chosen.model,
        "label": chosen.label,
        "confidence": chosen.confidence,
        "reason": chosen.reason,
        "scores": dict(chosen.scores),
        "capabilities": entry.capabilities.model_dump(),
        "max_model_len": entry.context_length,
    }


def listed(server: ModelServer, status: ModelStatus) -> dict[str, Any]:
    entry = server.entry(status.model)
    return {
        "id": entry.id,
        "object": "model",
        "created": STARTED,
        "owned_by": "capibara6",
        "root": entry.id,
        "parent": None,
        "permission": [],
        "description": entry.description,
        "domain": entry.domain,
        "priority": entry.priority,
        "capabilities": entry.capabilities.model_dump(),
        "max_model_len": entry.context_length,
        "state": status.state.value,
        "status": "loaded" if status.state.value == "ready" else "available",
    }
