"""`/api/mcp/…` for older clients: the team's REST, over the same tools and contexts as `/mcp`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from fastapi import APIRouter, Request
from mcp_types import CallToolResult, TextContent
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from services_node.mcp_server.errors import UnknownTool
from services_node.mcp_server.protocol import descriptor
from services_node.mcp_server.registry import Call
from services_node.mcp_server.results import cut
from wire.context import current
from wire.errors import ApiError, NotFound, ValidationFailed, problem

router = APIRouter(prefix="/api/mcp", tags=["mcp"])

MAX_PROMPT_CHARS = 32_000
MAX_EXPRESSION_CHARS = 1000
CALCULATOR = "calculate"


class Context(Protocol):
    """One document that a prompt may be given."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def keywords(self) -> Sequence[str]: ...


class Contexts(Protocol):
    """The team's documents. They are read from disk: not on the event loop."""

    def list(self) -> Sequence[Context]: ...
    def read(self, context_id: str) -> str:
        """Raises KeyError for an id that is none."""

    def choose(self, prompt: str) -> Sequence[str]:
        """The ids of those that a prompt needs."""


class AugmentRequest(BaseModel):
    prompt: str = Field(min_length=1, max_length=MAX_PROMPT_CHARS)
    contexts: list[str] | None = Field(None, max_length=20, description="Ids; left out: those that the prompt needs.")


class CalculateRequest(BaseModel):
    expression: str = Field(min_length=1, max_length=MAX_EXPRESSION_CHARS)


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    """Asked without a key: tells numbers, and nothing of what is where."""
    service = request.app.state.service
    return {
        "status": "healthy",
        "service": "mcp-server",
        "contexts_available": len(await asyncio.to_thread(service.contexts.list)),
        "tools_available": len(service.offer.tools),
        "timestamp": _now(),
    }


@router.get("/status")
async def status(request: Request) -> dict[str, Any]:
    service = request.app.state.service
    registry, external = service.offer.registry, service.external
    return {
        "status": "running",
        "service": "mcp-server",
        "endpoint": "/mcp",
        "protocol_versions": [*MODERN_PROTOCOL_VERSIONS, *reversed(HANDSHAKE_PROTOCOL_VERSIONS)],
        "tools": len(service.offer.tools),
        "resources": len(registry.resources),
        "prompts": len(registry.prompts),
        "contexts": len(await asyncio.to_thread(service.contexts.list)),
        "sessions": service.endpoint.sessions,
        "active_calls": service.caller.active,
        "servers": [
            {"name": name, "status": state, "tools": external.tool_count(name)}
            for name, state in external.health().items()
        ],
        "timestamp": _now(),
    }


@router.get("/tools")
async def tools(request: Request) -> dict[str, Any]:
    offered = request.app.state.service.offer.tools
    listed = [
        descriptor(offered[name]).model_dump(mode="json", by_alias=True, exclude_none=True) for name in sorted(offered)
    ]
    return {"tools": listed, "total": len(listed)}


@router.get("/contexts")
async def contexts(request: Request) -> dict[str, Any]:
    listed = [_told(context) for context in await asyncio.to_thread(request.app.state.service.contexts.list)]
    return {"contexts": listed, "total": len(listed)}


@router.get("/context/{context_id}")
async def context(request: Request, context_id: str) -> dict[str, Any]:
    library: Contexts = request.app.state.service.contexts
    known = {one.id: one for one in await asyncio.to_thread(library.list)}
    if context_id not in known:
        raise NotFound("There is no such context: /api/mcp/contexts lists them.", code="unknown_context")
    return {**_told(known[context_id]), "content": await asyncio.to_thread(library.read, context_id)}


@router.post("/augment")
async def augment(request: Request, body: AugmentRequest) -> dict[str, Any]:
    """The prompt with the documents it needs before it, each under its name."""
    service = request.app.state.service
    library: Contexts = service.contexts
    known = {one.id: one for one in await asyncio.to_thread(library.list)}
    used = list(body.contexts if body.contexts is not None else await asyncio.to_thread(library.choose, body.prompt))
    unknown = [name for name in used if name not in known]
    if unknown:
        raise ValidationFailed(f"There is no context {unknown[0]!r}.", code="unknown_context", param="contexts")
    room = service.parts.settings.mcp_result_chars
    documents = []
    for name in dict.fromkeys(used):
        text = cut(await asyncio.to_thread(library.read, name), room)
        room = max(0, room - len(text))
        documents.append(f"## {known[name].name}\n\n{text.strip()}")
    augmented = "\n\n".join([*documents, body.prompt]) if documents else body.prompt
    return {
        "original_prompt": body.prompt,
        "augmented_prompt": augmented,
        "contexts_used": list(dict.fromkeys(used)),
    }


@router.post("/calculate", response_model=None)
async def calculate(request: Request, body: CalculateRequest) -> dict[str, Any] | JSONResponse:
    """`{expression, result}`, with the value, unit and kind. What cannot be worked out is a problem with an `error`."""
    service = request.app.state.service
    known = current()
    call = Call(known.run_id, known.principal.name, service.parts)
    try:
        found = await service.caller.call(CALCULATOR, {"expression": body.expression}, call)
    except UnknownTool:
        raise NotFound("This server has no calculator.") from None
    if not isinstance(found, CallToolResult):
        raise ApiError("The calculator gave no answer.")
    if found.is_error:
        reason = " ".join(block.text for block in found.content if isinstance(block, TextContent))
        refused = ValidationFailed(reason, code="not_calculable", param="expression")
        told = {**problem(refused), "expression": body.expression, "error": reason}
        return JSONResponse(told, refused.status, media_type="application/problem+json")
    return {"expression": body.expression, **(found.structured_content or {})}


def _told(context: Context) -> dict[str, Any]:
    """keywords: by which whoever asks finds the documents that a prompt needs, as `augment` does."""
    told = {"id": context.id, "name": context.name, "description": context.description}
    return {**told, "keywords": list(context.keywords)}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
