"""`POST /api/chat` and `POST /api/chat/stream`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from services_node.chat_api.beginning import begin
from services_node.chat_api.parts import parts_of
from services_node.chat_api.schemas import ChatRequest
from services_node.chat_api.telling import RunStream, told_at_once

router = APIRouter(tags=["chat"])

_REPLIES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer as one object, or with `stream: true` as server-sent events."}
}


@router.post("/api/chat", response_model=None, responses=_REPLIES)
async def chat(asked: ChatRequest, request: Request) -> Response:
    """Asks the assistant. The model server chooses the model when `model` is `auto`, empty or missing."""
    if asked.stream:
        return await _stream(asked, request)
    active = await begin(parts_of(request), asked, streaming=False)
    return JSONResponse(await told_at_once(active, request.receive))


@router.post("/api/chat/stream", response_model=None, responses=_REPLIES)
async def chat_stream(asked: ChatRequest, request: Request) -> Response:
    """The same, always streamed."""
    return await _stream(asked, request)


async def _stream(asked: ChatRequest, request: Request) -> Response:
    parts = parts_of(request)
    active = await begin(parts, asked, streaming=True)
    ended = await active.opened(parts.settings.chat_header_wait_seconds)
    if ended is not None and ended.error is not None:
        raise ended.error
    return RunStream(active, parts.settings.chat_keep_alive_seconds)
