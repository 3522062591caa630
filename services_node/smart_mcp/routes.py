"""`/select` for the assistant, `/analyze` and `/health` for older clients."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, field_validator

from services_node.smart_mcp import contexts
from services_node.smart_mcp.choosing import By, choose
from services_node.smart_mcp.parts import Parts
from wire.errors import ApiError, ValidationFailed

router = APIRouter()

ALLOWED_NAMES = 1_000
RECKONING_SECONDS = 1.0  # what an older client's question waits for its sum
VERSION = "0.1.0"


class SelectRequest(BaseModel):
    query: str = Field(description="What the user wants, in their words.")
    limit: int = Field(4, ge=1, le=16, description="Tools at most.")
    allowed: list[Annotated[str, Field(max_length=200)]] | None = Field(
        None, max_length=ALLOWED_NAMES, description="Names that may be offered; null: all."
    )


class SelectReply(BaseModel):
    """tools: descriptors as the MCP server gives them, each with `score`, the surest first."""

    tools: list[dict[str, Any]]
    considered: int
    by: By
    unknown_allowed: list[str]


class AnalyzeRequest(BaseModel):
    query: str

    @field_validator("query")
    @classmethod
    def _said(cls, query: str) -> str:
        if not query.strip():
            raise ValueError("the query is empty: send what the user asked")
        return query


class AnalyzeReply(BaseModel):
    needs_context: bool
    original_query: str
    augmented_prompt: str
    contexts_added: int
    lightweight: bool = True


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


def checked(query: str, parts: Parts) -> str:
    """Raises ValidationFailed for a query that is empty or longer than a message may be."""
    most = parts.settings.max_message_chars
    if not query.strip():
        raise ValidationFailed("query: it is empty; send what the user asked", param="query", code="empty_query")
    if len(query) > most:
        raise ValidationFailed(
            f"query: {len(query)} characters, at most {most} (CAPIBARA6_MAX_MESSAGE_CHARS)",
            param="query",
            code="query_too_long",
        )
    return query


@router.post("/select", tags=["tools"])
async def select(asked: SelectRequest, request: Request) -> SelectReply:
    parts = _parts(request)
    found = await choose(parts, checked(asked.query, parts), limit=asked.limit, allowed=asked.allowed)
    tools = [{**choice.tool.wire, "score": choice.score} for choice in found.tools]
    return SelectReply(tools=tools, considered=found.considered, by=found.by, unknown_allowed=found.unknown)


@router.post("/analyze", tags=["older clients"])
async def analyze(asked: AnalyzeRequest, request: Request) -> AnalyzeReply:
    parts = _parts(request)
    query = checked(asked.query, parts)
    needed = contexts.needs(query, parts.catalogue.contexts)
    result = await _reckoned(parts, needed.expression) if needed.expression is not None else None
    prompt, added = contexts.augmented(query, needed, datetime.now(ZoneInfo(parts.settings.time_zone)), result)
    return AnalyzeReply(needs_context=added > 0, original_query=query, augmented_prompt=prompt, contexts_added=added)


async def _reckoned(parts: Parts, expression: str) -> str | None:
    """What 5003 makes of it; None when it cannot or does not in time: the question then goes without."""
    try:
        async with asyncio.timeout(RECKONING_SECONDS):
            answer = await parts.server.call_tool("calculate", {"expression": expression})
    except (ApiError, TimeoutError):
        return None
    return None if answer.failed else answer.text.rpartition("=")[2].strip() or None


@router.get("/health", tags=["older clients"])
async def health(request: Request) -> dict[str, Any]:
    catalogue = _parts(request).catalogue
    return {
        "status": "healthy" if catalogue.index is not None else "starting",
        "service": "smart-mcp-capibara6",
        "version": VERSION,
        "approach": "selective-rag",
        "timestamp": datetime.now(UTC).isoformat(),
        "tools_available": len(catalogue.index.tools) if catalogue.index else 0,
        "mcp_server": catalogue.state,
    }
