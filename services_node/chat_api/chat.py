"""`POST /api/chat`, its stream, and making an answer again."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from services_node.chat_api.beginning import begin, begin_again
from services_node.chat_api.parts import parts_of
from services_node.chat_api.schemas import ChatRequest, RegenerateRequest
from services_node.chat_api.telling import ActiveTurn, RunStream, opened, told_at_once

router = APIRouter(tags=["chat"])

_REPLIES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer as one object, or with `stream: true` as server-sent events."}
}


@router.post("/api/chat", response_model=None, responses=_REPLIES)
async def chat(asked: ChatRequest, request: Request) -> Response:
    """Asks the assistant. The model server chooses the model when `model` is `auto`, empty or missing."""
    active = await begin(parts_of(request), asked, streaming=asked.stream)
    return await replied(active, request, streaming=asked.stream)


@router.post("/api/chat/stream", response_model=None, responses=_REPLIES)
async def chat_stream(asked: ChatRequest, request: Request) -> Response:
    """The same, always streamed."""
    active = await begin(parts_of(request), asked, streaming=True)
    return await replied(active, request, streaming=True)


@router.post("/api/conversations/{conversation_id}/regenerate", response_model=None, responses=_REPLIES)
async def regenerate(conversation_id: uuid.UUID, request: Request, asked: RegenerateRequest | None = None) -> Response:
    """Makes the last answer again. The earlier one is kept until the new one is there, whole."""
    wanted = asked or RegenerateRequest()
    how = ChatRequest(model=wanted.model, tools=wanted.tools, speak=wanted.speak)
    active = await begin_again(parts_of(request), how, conversation_id, wanted.message_id, streaming=wanted.stream)
    return await replied(active, request, streaming=wanted.stream)


async def replied(active: ActiveTurn, request: Request, *, streaming: bool) -> Response:
    """The turn told as it goes, or at its end. Raises what ended it before it said anything."""
    if not streaming:
        return JSONResponse(await told_at_once(active, request.receive))
    settings = parts_of(request).settings
    await opened(active, request.receive, settings.chat_header_wait_seconds)
    return RunStream(active, settings.chat_keep_alive_seconds)
