"""How a chat turn begins: where it goes on (a new conversation, an old one, an answer made again), then the turn."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from db.records import NewMessage, NewRun
from flows.chat import ChatWork
from flows.prompting import language_of
from flows.tools.policy import RUN_PYTHON
from flows.turn import ChatMessage, ToolsWanted, TurnRequest
from services_node.chat_api.asking import (
    check_available,
    earlier_messages,
    new_messages,
    prompt,
    title,
    tools_wanted,
)
from services_node.chat_api.parts import Parts
from services_node.chat_api.schemas import ChatRequest
from services_node.chat_api.telling import ActiveTurn
from wire.context import current
from wire.errors import ValidationFailed
from wire.ids import uuid7


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn goes on.

    earlier: what was said before, oldest first; summary: of what was said before that. question: what is to be
    answered; kept: whether it is new, and written with the run. replaces: the answer whose place the new one takes.
    ran_code: whether code ran in the conversation before.
    """

    conversation_id: uuid.UUID
    new_conversation: bool
    summary: str | None
    earlier: Sequence[ChatMessage]
    question: tuple[ChatMessage, ...]
    kept: bool = True
    replaces: uuid.UUID | None = None
    ran_code: bool = False


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
    await check_tools(parts, tools_wanted(asked))
    if asked.conversation_id is None:
        return Place(uuid7(), True, None, earlier_messages(asked, ()), question)
    owner = current().principal.name
    stored = await parts.turns.history(asked.conversation_id, owner, settings.history_messages)
    ran_code = any(call.name == RUN_PYTHON for message in stored.messages for call in message.tool_calls)
    earlier = earlier_messages(asked, stored.messages)
    return Place(asked.conversation_id, False, stored.summary, earlier, question, ran_code=ran_code)


async def check_tools(parts: Parts, wanted: ToolsWanted) -> None:
    """Raises ValidationFailed for names that no tool has."""
    if wanted.wanted and wanted.allowed.names:
        unknown = await parts.tools.unknown(wanted.allowed.names)
        if unknown:
            raise ValidationFailed(
                f"There is no tool {', '.join(unknown)}: `GET /api/mcp/tools` of the MCP server lists them.",
                param="tools",
                code="unknown_tool",
            )


def begin_at(parts: Parts, asked: ChatRequest, place: Place, *, streaming: bool, queued: bool = False) -> ActiveTurn:
    """Begins the turn and returns at once. queued: whether its run is written already, and waits."""
    settings, context = parts.settings, current()
    request = TurnRequest(
        context=context,
        conversation_id=place.conversation_id,
        model=asked.model or None,
        messages=prompt(
            place.earlier,
            place.question,
            most_messages=settings.history_messages,
            most_chars=settings.history_chars,
        ),
        options=asked.options(),
        timeout_seconds=settings.chat_timeout_seconds,
        locale=language_of(place.question[-1].content),
        summary=place.summary,
        tools=tools_wanted(asked),
        ran_code_before=place.ran_code,
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
        messages=tuple(
            NewMessage(uuid7(), message.role, message.content) for message in written if message.role != "tool"
        ),
        parent_id=getattr(context, "parent_run_id", None),
        replaces=place.replaces,
        queued=queued,
    )
    work = ChatWork(request, parts.assistance, lambda: parts.conductor.written(context.run_id))
    return parts.conductor.begin(work, run, streaming=streaming)
