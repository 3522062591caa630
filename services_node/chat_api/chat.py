"""`POST /api/chat` and `POST /api/chat/stream`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from db.records import History, NewMessage, NewRun
from flows.turn import ChatWork, TurnRequest
from services_node.chat_api.asking import check_available, earlier_messages, new_messages, prompt, title
from services_node.chat_api.parts import Parts, parts_of
from services_node.chat_api.schemas import ChatRequest
from services_node.chat_api.telling import ActiveTurn, RunStream, told_at_once
from wire.context import current, outgoing_headers
from wire.ids import uuid7

router = APIRouter(tags=["chat"])

_REPLIES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The answer as one object, or with `stream: true` as server-sent events."}
}


@router.post("/api/chat", response_model=None, responses=_REPLIES)
async def chat(asked: ChatRequest, request: Request) -> Response:
    """Asks the assistant. The model server chooses the model when `model` is `auto`, empty or missing."""
    if asked.stream:
        return await _stream(asked, request)
    active = await _begin(parts_of(request), asked, streaming=False)
    return JSONResponse(await told_at_once(active, request.receive))


@router.post("/api/chat/stream", response_model=None, responses=_REPLIES)
async def chat_stream(asked: ChatRequest, request: Request) -> Response:
    """The same, always streamed."""
    return await _stream(asked, request)


async def _stream(asked: ChatRequest, request: Request) -> Response:
    parts = parts_of(request)
    active = await _begin(parts, asked, streaming=True)
    ended = await active.opened(parts.settings.chat_header_wait_seconds)
    if ended is not None and ended.error is not None:
        raise ended.error
    return RunStream(active, parts.settings.chat_keep_alive_seconds)


async def _begin(parts: Parts, asked: ChatRequest, *, streaming: bool) -> ActiveTurn:
    """Checks the request, reads its conversation when it goes on with one, and begins the turn."""
    settings, context = parts.settings, current()
    new = new_messages(asked, settings.max_message_chars)
    check_available(asked)
    parts.conductor.admit("chat")
    owner = context.principal.name
    stored = (
        await parts.turns.history(asked.conversation_id, owner, settings.history_messages)
        if asked.conversation_id
        else History(None, [])
    )
    conversation_id = asked.conversation_id or uuid7()
    messages = prompt(
        earlier_messages(asked, stored.messages),
        new,
        most_messages=settings.history_messages,
        most_chars=settings.history_chars,
    )
    request = TurnRequest(
        run_id=context.run_id,
        conversation_id=conversation_id,
        model=asked.model or None,
        messages=messages,
        options=asked.options(),
        headers=outgoing_headers(context),
        timeout_seconds=settings.chat_timeout_seconds,
    )
    run = NewRun(
        id=context.run_id,
        owner=owner,
        kind="chat",
        conversation_id=conversation_id,
        new_conversation=asked.conversation_id is None,
        title=title(new),
        trace_id=context.trace.trace_id,
        stack_id=parts.stack_id,
        instance_id=parts.instance_id,
        requested_model=asked.model or None,
        messages=tuple(NewMessage(uuid7(), message.role, message.content) for message in new),
        parent_id=getattr(context, "parent_run_id", None),
    )
    return parts.conductor.begin(ChatWork(request, parts.models), run, streaming=streaming)
