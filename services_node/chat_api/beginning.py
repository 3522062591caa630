"""How a chat turn begins: where it goes on (a new conversation, an old one, an answer made again), then the turn itself."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from db.records import NewMessage, NewRun
from flows.turn import ChatMessage, ChatWork, TurnRequest
from services_node.chat_api.asking import check_available, earlier_messages, new_messages, prompt, title
from services_node.chat_api.parts import Parts
from services_node.chat_api.schemas import ChatRequest
from services_node.chat_api.telling import ActiveTurn
from wire.context import current, outgoing_headers
from wire.ids import uuid7


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn goes on.

    earlier: what was said before, oldest first; summary: of what was said before that. question: what is to be
    answered; kept: whether it is new, and written with the run. replaces: the answer whose place the new one takes.
    """

    conversation_id: uuid.UUID
    new_conversation: bool
    summary: str | None
    earlier: Sequence[ChatMessage]
    question: tuple[ChatMessage, ...]
    kept: bool = True
    replaces: uuid.UUID | None = None


async def begin(parts: Parts, asked: ChatRequest, *, streaming: bool) -> ActiveTurn:
    """Checks the request, reads its conversation when it goes on with one, and begins the turn."""
    place = await asked_place(parts, asked)
    return begin_at(parts, asked, place, streaming=streaming)


async def asked_place(parts: Parts, asked: ChatRequest) -> Place:
    """Where a chat request goes on. Raises what is wrong with it, NotFound, TooManyRequests."""
    settings = parts.settings
    question = new_messages(asked, settings.max_message_chars)
    check_available(asked)
    parts.conductor.admit("chat")
    if asked.conversation_id is None:
        return Place(uuid7(), True, None, earlier_messages(asked, ()), question)
    owner = current().principal.name
    stored = await parts.turns.history(asked.conversation_id, owner, settings.history_messages)
    return Place(asked.conversation_id, False, stored.summary, earlier_messages(asked, stored.messages), question)


def begin_at(parts: Parts, asked: ChatRequest, place: Place, *, streaming: bool, queued: bool = False) -> ActiveTurn:
    """Begins the turn and returns at once. queued: whether its run is written already, and waits."""
    settings, context = parts.settings, current()
    request = TurnRequest(
        run_id=context.run_id,
        conversation_id=place.conversation_id,
        model=asked.model or None,
        messages=prompt(
            place.earlier,
            place.question,
            most_messages=settings.history_messages,
            most_chars=settings.history_chars,
        ),
        options=asked.options(),
        headers=outgoing_headers(context),
        timeout_seconds=settings.chat_timeout_seconds,
    )
    written = place.question if place.kept else ()
    run = NewRun(
        id=context.run_id,
        owner=context.principal.name,
        kind="chat",
        conversation_id=place.conversation_id,
        new_conversation=place.new_conversation,
        title=title(place.question),
        trace_id=context.trace.trace_id,
        stack_id=parts.stack_id,
        instance_id=parts.instance_id,
        requested_model=asked.model or None,
        messages=tuple(NewMessage(uuid7(), message.role, message.content) for message in written),
        parent_id=context.parent_run_id,
        replaces=place.replaces,
        queued=queued,
    )
    return parts.conductor.begin(ChatWork(request, parts.models), run, streaming=streaming)
