"""`/api/conversations`: one's own, and nobody else's."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from db.forks import fork as make_fork
from db.search import search_messages
from services_node.chat_api.exporting import Export
from services_node.chat_api.files import disposition
from services_node.chat_api.paging import decode_cursor, page
from services_node.chat_api.parts import owner, parts_of
from services_node.chat_api.removing import remove_conversation
from services_node.chat_api.schemas import (
    MAX_QUERY_CHARS,
    MAX_TITLE_CHARS,
    ConversationOut,
    ConversationPage,
    ConversationWithMessages,
    ForkRequest,
    FoundMessage,
    FoundMessages,
    Line,
    MessageOut,
    Rename,
)
from wire.ids import uuid7

router = APIRouter(prefix="/api/conversations", tags=["conversations"])

Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("")
async def conversations(
    request: Request,
    limit: Limit = 50,
    cursor: str | None = None,
    q: Annotated[Line | None, Query(max_length=MAX_TITLE_CHARS)] = None,
) -> ConversationPage:
    """Last used first. `q`: only those that have this text in their title."""
    found = await parts_of(request).conversations.page(owner(), limit=limit + 1, before=decode_cursor(cursor), titled=q)
    shown, following = page(found, limit, lambda one: (one.updated_at, one.id))
    return ConversationPage(conversations=[ConversationOut.of(one) for one in shown], next_cursor=following)


@router.get("/search")
async def search(
    request: Request,
    q: Annotated[Line, Query(max_length=MAX_QUERY_CHARS)],
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> FoundMessages:
    """Full text of your messages, Spanish and English: words, `"a phrase"`, `or`, `-without`. Best first."""
    found = await search_messages(parts_of(request).database, owner(), q, limit)
    return FoundMessages(results=[FoundMessage.model_validate(one) for one in found])


@router.get("/{conversation_id}")
async def conversation(
    conversation_id: uuid.UUID,
    request: Request,
    messages: Annotated[int, Query(ge=0, le=1000)] = 200,
    before: uuid.UUID | None = None,
) -> ConversationWithMessages:
    """A conversation with its newest messages, oldest first. `before`: a message's id; those before it only."""
    store = parts_of(request).conversations
    found = await store.get(conversation_id, owner())
    said = await store.messages(conversation_id, owner(), limit=messages, before=before)
    return ConversationWithMessages(
        **ConversationOut.of(found).model_dump(), messages=[MessageOut.of(one) for one in said]
    )


@router.patch("/{conversation_id}")
async def rename(conversation_id: uuid.UUID, asked: Rename, request: Request) -> ConversationOut:
    """Gives it another title."""
    return ConversationOut.of(await parts_of(request).conversations.rename(conversation_id, owner(), asked.title))


@router.delete("/{conversation_id}", status_code=204)
async def remove(conversation_id: uuid.UUID, request: Request) -> Response:
    """Removes a conversation, its messages, files and sandbox; what is under way in it is cancelled. Its runs stay."""
    await remove_conversation(parts_of(request), conversation_id)
    return Response(status_code=204)


@router.get("/{conversation_id}/export", response_model=None)
async def export(
    conversation_id: uuid.UUID,
    request: Request,
    form: Annotated[Literal["json", "markdown"], Query(alias="format")] = "json",
) -> StreamingResponse:
    """The whole conversation as a file: JSON with every message, tool call and run, or Markdown to read."""
    parts = parts_of(request)
    found = await parts.conversations.get(conversation_id, owner())
    document = Export(parts.conversations, parts.runs, found, owner())
    body, kind, ending = (
        (document.as_json(), "application/json", "json")
        if form == "json"
        else (document.as_markdown(), "text/markdown; charset=utf-8", "md")
    )
    name = f"{found.title.replace('/', '-')}.{ending}"
    headers = {
        "content-disposition": disposition("attachment", name),
        "x-content-type-options": "nosniff",
        "cache-control": "private, no-store",
    }
    return StreamingResponse(body, media_type=kind, headers=headers)


@router.post("/{conversation_id}/fork", status_code=201)
async def fork(conversation_id: uuid.UUID, asked: ForkRequest, request: Request, response: Response) -> ConversationOut:
    """Makes a conversation of this one's messages up to and with one of them. What runs here goes on here."""
    parts, fork_id = parts_of(request), uuid7()
    await make_fork(
        parts.database,
        conversation_id,
        asked.message_id,
        owner(),
        fork_id=fork_id,
        title=asked.title,
        most_messages=parts.settings.fork_messages,
    )
    response.headers["location"] = f"/api/conversations/{fork_id}"
    return ConversationOut.of(await parts.conversations.get(fork_id, owner()))
