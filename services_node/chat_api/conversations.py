"""`/api/conversations`: one's own, and nobody else's."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from services_node.chat_api.paging import decode_cursor, page
from services_node.chat_api.parts import owner, parts_of
from services_node.chat_api.schemas import (
    ConversationOut,
    ConversationPage,
    ConversationWithMessages,
    MessageOut,
)

router = APIRouter(prefix="/api/conversations", tags=["conversations"])

Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("")
async def conversations(request: Request, limit: Limit = 50, cursor: str | None = None) -> ConversationPage:
    """Last used first."""
    found = await parts_of(request).conversations.page(owner(), limit=limit + 1, before=decode_cursor(cursor))
    shown, following = page(found, limit, lambda one: (one.updated_at, one.id))
    return ConversationPage(conversations=[ConversationOut.of(one) for one in shown], next_cursor=following)


@router.get("/{conversation_id}")
async def conversation(
    conversation_id: uuid.UUID, request: Request, messages: Annotated[int, Query(ge=0, le=1000)] = 200
) -> ConversationWithMessages:
    """A conversation with its newest messages, oldest first."""
    store = parts_of(request).conversations
    found = await store.get(conversation_id, owner())
    said = await store.messages(conversation_id, owner(), limit=messages)
    return ConversationWithMessages(
        **ConversationOut.of(found).model_dump(), messages=[MessageOut.of(one) for one in said]
    )


@router.delete("/{conversation_id}", status_code=204)
async def remove(conversation_id: uuid.UUID, request: Request) -> Response:
    """Removes a conversation and its messages; a turn under way in it is cancelled. Its runs stay."""
    parts = parts_of(request)
    await parts.conversations.get(conversation_id, owner())
    for active in parts.conductor.of_conversation(conversation_id):
        active.cancel("cancelled_by_client")
        await active.ended()
    await parts.conversations.remove(conversation_id, owner())
    parts.sandboxes.close_conversation(owner(), conversation_id)
    return Response(status_code=204)
