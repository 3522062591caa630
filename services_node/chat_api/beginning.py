"""How a chat turn begins: where it goes on (a new conversation, an old one, an answer made again), then the turn."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db.forks import no_message
from db.records import History, NewMessage, NewRun
from flows.chat import ChatWork
from flows.tools.policy import RUN_PYTHON
from flows.turn import ChatMessage, ToolsWanted, TurnRequest
from flows.voice import VoiceWish
from services_node.chat_api.asking import (
    earlier_messages,
    new_messages,
    prompt,
    title,
    tools_wanted,
    voice_wish,
)
from services_node.chat_api.parts import Parts
from services_node.chat_api.provenance import provenance
from services_node.chat_api.schemas import ChatRequest
from services_node.chat_api.telling import ActiveTurn
from wire.context import current
from wire.errors import Conflict, ValidationFailed
from wire.ids import uuid7
from wire.language import language_of


@dataclass(frozen=True, slots=True)
class Place:
    """Where a turn goes on.

    earlier: what was said before, oldest first; summary: of what was said before that. question: what is to be
    answered; kept: whether it is new, and written with the run. replaces: the answer whose place the new one takes.
    ran_code: whether code ran in the conversation before. untrusted: whether text from outside was read in it.
    """

    conversation_id: uuid.UUID
    new_conversation: bool
    summary: str | None
    earlier: Sequence[ChatMessage]
    question: tuple[ChatMessage, ...]
    kept: bool = True
    replaces: uuid.UUID | None = None
    ran_code: bool = False
    untrusted: bool = False


@dataclass(frozen=True, slots=True)
class Wish:
    """What a turn is to do, whoever asked for it. messages: what the model reads, oldest first; options go to it as
    they are. stored: whether what is said is kept, in a conversation; else only the run is. speak: how the answer is
    spoken, where it is."""

    model: str | None
    messages: tuple[ChatMessage, ...]
    options: Mapping[str, Any]
    tools: ToolsWanted
    stored: bool = True
    speak: VoiceWish | None = None


async def begin(parts: Parts, asked: ChatRequest, *, streaming: bool) -> ActiveTurn:
    """Checks the request, reads its conversation when it goes on with one, and begins the turn."""
    place = await asked_place(parts, asked)
    return begin_at(parts, asked, place, streaming=streaming)


async def asked_place(parts: Parts, asked: ChatRequest) -> Place:
    """Where a chat request goes on. Raises what is wrong with it, NotFound, TooManyRequests."""
    settings = parts.settings
    question = new_messages(asked, settings.max_message_chars)
    parts.conductor.admit("chat")
    await check_tools(parts, tools_wanted(asked))
    if asked.conversation_id is None:
        return Place(uuid7(), True, None, earlier_messages(asked, ()), question)
    owner = current().principal.name
    stored = await parts.turns.history(asked.conversation_id, owner, settings.history_messages)
    earlier = earlier_messages(asked, stored.messages)
    return Place(
        asked.conversation_id,
        False,
        stored.summary,
        earlier,
        question,
        ran_code=ran_code(stored),
        untrusted=stored.untrusted,
    )


def ran_code(stored: History) -> bool:
    return any(call.name == RUN_PYTHON for message in stored.messages for call in message.tool_calls)


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


async def begin_again(
    parts: Parts, asked: ChatRequest, conversation_id: uuid.UUID, message_id: uuid.UUID | None, *, streaming: bool
) -> ActiveTurn:
    """Begins the turn that makes a conversation's last answer again. One at a time, and not beside another turn there:
    raises Conflict.
    """
    parts.conductor.admit("chat")
    check_idle(parts, conversation_id)
    place = await last_answer(parts, asked, conversation_id, message_id)
    await check_tools(parts, tools_wanted(asked))
    check_idle(parts, conversation_id)  # nothing is awaited between this and the turn's being under way
    return begin_at(parts, asked, place, streaming=streaming)


def check_idle(parts: Parts, conversation_id: uuid.UUID) -> None:
    """Raises Conflict while a chat turn is under way in the conversation."""
    if any(active.run.kind == "chat" for active in parts.conductor.of_conversation(conversation_id)):
        raise Conflict("A turn is under way in this conversation.", code="turn_under_way", param="conversation_id")


async def last_answer(
    parts: Parts, asked: ChatRequest, conversation_id: uuid.UUID, message_id: uuid.UUID | None
) -> Place:
    """Where the last answer is made again; a last question that got none is answered.

    Raises NotFound, and Conflict for a message that is not the last, or where there is nothing to answer.
    """
    owner, settings = current().principal.name, parts.settings
    last = await parts.conversations.last_message(conversation_id, owner)
    if message_id is not None and (last is None or last.id != message_id):
        if not await parts.conversations.has_message(conversation_id, owner, message_id):
            raise no_message(message_id)
        raise Conflict(
            "Only the last message can be made again; a fork begins anew from an earlier one.",
            code="not_the_last_message",
            param="message_id",
        )
    if message_id is not None and last is not None and last.role != "assistant":
        raise ValidationFailed("This message is not an answer.", param="message_id", code="not_an_answer")
    replaced = last if last is not None and last.role == "assistant" else None
    most = max(settings.history_messages, 2)  # the question at least, where no history is sent along
    stored = await parts.turns.history(conversation_id, owner, most, before=replaced.position if replaced else None)
    places = [index for index, message in enumerate(stored.messages) if message.role == "user"]
    if not places:
        raise Conflict("There is no question to answer again.", code="nothing_to_answer", param="conversation_id")
    question = stored.messages[places[-1]]
    return Place(
        conversation_id,
        False,
        stored.summary,
        earlier_messages(asked, stored.messages[: places[-1]]),
        (ChatMessage(question.role, question.content),),
        kept=False,
        replaces=replaced.id if replaced else None,
        ran_code=ran_code(stored),
        untrusted=stored.untrusted,
    )


def begin_at(parts: Parts, asked: ChatRequest, place: Place, *, streaming: bool, queued: bool = False) -> ActiveTurn:
    """Begins the turn and returns at once. queued: whether its run is written already, and waits."""
    settings = parts.settings
    messages = prompt(
        place.earlier, place.question, most_messages=settings.history_messages, most_chars=settings.history_chars
    )
    wish = Wish(asked.model or None, messages, asked.options(), tools_wanted(asked), speak=voice_wish(asked))
    return begin_turn(parts, wish, place, streaming=streaming, queued=queued)


def begin_turn(parts: Parts, wish: Wish, place: Place, *, streaming: bool, queued: bool = False) -> ActiveTurn:
    """The same, of whatever was asked in whatever form."""
    context = current()
    request = TurnRequest(
        context=context,
        conversation_id=place.conversation_id,
        model=wish.model,
        messages=wish.messages,
        options=wish.options,
        timeout_seconds=parts.settings.chat_timeout_seconds,
        locale=language_of(place.question[-1].content),
        summary=place.summary,
        tools=wish.tools,
        ran_code_before=place.ran_code,
        tainted=place.untrusted,
        stored=wish.stored,
        speak=wish.speak,
    )
    written = place.question if place.kept and wish.stored else ()
    run = NewRun(
        id=context.run_id,
        owner=context.principal.name,
        kind="chat",
        conversation_id=place.conversation_id if wish.stored else None,
        new_conversation=place.new_conversation and wish.stored,
        title=title(place.question),
        trace_id=context.trace.trace_id,
        stack_id=parts.stack_id,
        instance_id=parts.instance_id,
        requested_model=wish.model,
        messages=tuple(
            NewMessage(uuid7(), message.role, message.content) for message in written if message.role != "tool"
        ),
        parent_id=context.parent_run_id,
        replaces=place.replaces,
        queued=queued,
        **provenance("api" if queued else "chat"),
    )
    work = ChatWork(request, parts.assistance, lambda: parts.conductor.written(context.run_id))
    return parts.conductor.begin(work, run, streaming=streaming)
