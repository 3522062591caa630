"""Where a request of either API goes on, and its turn begun there.

Chat completions: the client keeps what was said and sends all of it; the conversation only keeps the newest question
and its answer. Responses: with `previous_response_id` or `conversation` the conversation is what was said.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from db.records import History, RunRecord
from flows.turn import CLIENT_CALLS, ChatMessage
from services_node.chat_api.asking import alternating, prompt
from services_node.chat_api.beginning import Place, Wish, begin_turn, check_tools, ran_code
from services_node.chat_api.openai_door.items import last_answered, read_items
from services_node.chat_api.openai_door.names import no_response, read_call, read_conversation, response_id, run_of
from services_node.chat_api.openai_door.reading import (
    check_asked,
    check_results,
    completion_options,
    last_question,
    leaving_nothing,
    model_asked,
    read_messages,
    refused,
    response_options,
    tools_asked,
)
from services_node.chat_api.openai_door.schemas import CompletionRequest, ResponseRequest
from services_node.chat_api.parts import Parts, owner
from services_node.chat_api.telling import ActiveTurn
from wire.errors import Conflict, InvalidRequest, NotFound
from wire.ids import uuid7

CONVERSATION_HEADER = "x-capibara6-conversation-id"


async def begin_completion(
    parts: Parts, asked: CompletionRequest, conversation: str | None, *, streaming: bool
) -> ActiveTurn:
    """Begins the turn of a chat completion. conversation: the header that names one. Raises ApiError."""
    messages = read_messages(asked.messages, parts.settings.max_message_chars)
    tools = tools_asked(asked.tools, asked.tool_choice, asked.parallel_tool_calls, asked.metadata)
    tools = leaving_nothing(tools) if asked.store is False else tools
    wish = Wish(model_asked(asked.model), messages, completion_options(asked), tools, asked.store is not False)
    parts.conductor.admit("chat")
    await check_tools(parts, tools)
    param = CONVERSATION_HEADER if conversation else "metadata.conversation_id"
    named = conversation or (asked.metadata or {}).get("conversation_id")
    results = [one.tool_call_id for one in asked.messages if one.role == "tool"]
    answered = results[-1] if messages[-1].role == "tool" else None
    place = await _kept_at(parts, named, param, answered, (last_question(messages),))
    return begin_turn(parts, wish, place, streaming=streaming)


async def _kept_at(
    parts: Parts, named: str | None, param: str, answered: str | None, question: tuple[ChatMessage, ...]
) -> Place:
    """Where the question is kept, and the answer: in the conversation named, or that of the call which is answered
    (the question stands there already), or a new one."""
    if named is not None:
        conversation_id = read_conversation(named, param)
        history = await _history(parts, conversation_id)
        return Place(conversation_id, False, None, (), question, answered is None, ran_code=ran_code(history))
    if answered is not None and (run := await _run_of_call(parts, answered)) is not None:
        assert run.conversation_id is not None  # noqa: S101 - it is asked for with one
        history = await _history(parts, run.conversation_id)
        return Place(run.conversation_id, False, None, (), question, False, ran_code=ran_code(history))
    return Place(uuid7(), True, None, (), question)


async def _run_of_call(parts: Parts, call_id: str) -> RunRecord | None:
    """The run that asked for the call; None for one that is not ours, or has no conversation any more."""
    run_id, _ = read_call(call_id)
    if run_id is None:
        return None
    try:
        run = await parts.runs.get(run_id, owner())
    except NotFound:
        return None
    return run if run.conversation_id is not None else None


async def _history(parts: Parts, conversation_id: uuid.UUID) -> History:
    return await parts.turns.history(conversation_id, owner(), parts.settings.history_messages)


async def begin_response(parts: Parts, asked: ResponseRequest, *, streaming: bool) -> ActiveTurn:
    """Begins the turn of a response. Raises ApiError."""
    new = read_items(asked.input, parts.settings.max_message_chars)
    if not new or new[-1].role not in {"user", "tool"}:
        detail = "The input's last item must be a message of the user's, or the output of a call."
        raise refused(detail, "input", "last_message_not_user")
    tools = tools_asked(asked.tools, asked.tool_choice, asked.parallel_tool_calls, asked.metadata)
    tools = leaving_nothing(tools) if asked.store is False else tools
    options = response_options(asked)
    parts.conductor.admit("chat")
    await check_tools(parts, tools)
    conversation_id = await _conversation_of(parts, asked)
    answered = last_answered(asked.input) if new[-1].role == "tool" else None
    if conversation_id is None:
        messages, place = await _afresh(parts, new, answered)
    else:
        history = await _history(parts, conversation_id)
        exchange = await _exchange(parts, asked, answered, new)
        messages, place = _going_on(parts, conversation_id, history, exchange, new)
    if asked.instructions and asked.instructions.strip():
        messages = (ChatMessage("system", asked.instructions), *messages)
    wish = Wish(model_asked(asked.model), messages, options, tools, asked.store is not False)
    return begin_turn(parts, wish, place, streaming=streaming)


async def _afresh(
    parts: Parts, new: Sequence[ChatMessage], answered: str | None
) -> tuple[tuple[ChatMessage, ...], Place]:
    """What the model reads where the input is all of it, and where its last question is kept."""
    check_results(new, "input")
    check_asked(new, "input")
    return tuple(alternating(new)), await _kept_at(parts, None, "", answered, (last_question(new),))


def _going_on(
    parts: Parts,
    conversation_id: uuid.UUID,
    history: History,
    exchange: Sequence[ChatMessage],
    new: Sequence[ChatMessage],
) -> tuple[tuple[ChatMessage, ...], Place]:
    """What the model reads of a conversation and what is new; all that is said anew is kept there."""
    settings = parts.settings
    said = earlier(history, after_calls=bool(exchange))
    check_results([*exchange, *new], "input")
    check_asked([*said, *new], "input")
    messages = prompt(
        said, [*exchange, *new], most_messages=settings.history_messages, most_chars=settings.history_chars
    )
    kept = tuple(one for one in new if one.role in {"user", "assistant"} and not one.extra)
    question = kept or (last_question([*said, *new]),)
    place = Place(
        conversation_id,
        False,
        history.summary,
        (),
        question,
        bool(kept),
        ran_code=ran_code(history),
        untrusted=history.untrusted,
    )
    return messages, place


async def _conversation_of(parts: Parts, asked: ResponseRequest) -> uuid.UUID | None:
    """The conversation that the response goes on with. Raises NotFound, Conflict, InvalidRequest."""
    if asked.previous_response_id is not None and asked.conversation is not None:
        raise InvalidRequest("Send `previous_response_id` or `conversation`, not both.", param="previous_response_id")
    if asked.previous_response_id is not None:
        run = await response_run(parts, asked.previous_response_id, "previous_response_id")
        if run.status in {"queued", "running"}:
            detail = f"Response {asked.previous_response_id} is not finished yet."
            raise Conflict(detail, code="response_in_progress", param="previous_response_id")
        return run.conversation_id
    named = asked.conversation.get("id") if isinstance(asked.conversation, dict) else asked.conversation
    return read_conversation(str(named), "conversation") if named is not None else None


async def response_run(parts: Parts, name: str, param: str) -> RunRecord:
    """The run of a stored response. Raises NotFound also for one that is deleted, was not stored, or is no chat."""
    run_id = run_of(name, param)
    await parts.conductor.written(run_id)
    try:
        run = await parts.runs.get(run_id, owner())
    except NotFound:
        raise no_response(name, param) from None
    if run.kind != "chat" or run.conversation_id is None:
        raise no_response(name, param)
    return run


async def _exchange(
    parts: Parts, asked: ResponseRequest, answered: str | None, new: Sequence[ChatMessage]
) -> list[ChatMessage]:
    """The calls that the input has the outputs of, and what they followed from; none where it brings them itself."""
    if any("tool_calls" in message.extra for message in new):
        return []
    name = asked.previous_response_id
    if name is None and answered is not None and (run := await _run_of_call(parts, answered)) is not None:
        name = response_id(run.id)
    return await client_calls(parts, run_of(name, "previous_response_id")) if name is not None else []


async def client_calls(parts: Parts, run_id: uuid.UUID) -> list[ChatMessage]:
    """What a run that ended with calls for its client said since the question, as messages; none for any other run."""
    for step in await parts.runs.steps(run_id):
        if step.name == CLIENT_CALLS and step.detail:
            return [read_message(one) for one in step.detail.get("messages", ())]
    return []


def read_message(kept: dict[str, Any]) -> ChatMessage:
    extra = {name: value for name, value in kept.items() if name not in {"role", "content"}}
    return ChatMessage(kept["role"], kept.get("content") or "", extra)


def earlier(history: History, *, after_calls: bool) -> list[ChatMessage]:
    """What was said before. after_calls: without what was said since the question, which the calls bring along."""
    said = [ChatMessage(message.role, message.content) for message in history.messages if message.content.strip()]
    while after_calls and said and said[-1].role != "user":
        said.pop()
    return said
