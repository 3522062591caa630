"""A response's input, as messages that a model reads. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from flows.turn import ChatMessage
from services_node.chat_api.openai_door.reading import call_of, refused, result_of, said_by, text_of
from services_node.chat_api.openai_door.schemas import ItemIn

# What clients send back of earlier outputs, and what the answer that stands beside it has taken up already.
_PASSED_OVER = {"reasoning", "mcp_call", "mcp_list_tools", "compaction"}


def read_items(items: Sequence[ItemIn], most_chars: int) -> tuple[ChatMessage, ...]:
    """The input's messages, in order; calls that stand side by side are one message's. Raises ValidationFailed."""
    messages: list[ChatMessage] = []
    for index, item in enumerate(items):
        place = f"input.{index}"
        match item.type:
            case "message":
                _add_message(messages, item, place, most_chars)
            case "function_call":
                _add_call(messages, item, place)
            case "function_call_output":
                if item.call_id is None:
                    raise refused("Which call is this the result of?", f"{place}.call_id", "missing_field")
                said = said_by("tool", text_of(item.output, f"{place}.output"), f"{place}.output", most_chars)
                messages.append(result_of(item.call_id, said.content))
            case kind if kind not in _PASSED_OVER:
                detail = f"Items of type {kind[:50]!r} are not known here; references to items neither: send the item."
                raise refused(detail, f"{place}.type")
    return tuple(messages)


def _add_message(messages: list[ChatMessage], item: ItemIn, place: str, most_chars: int) -> None:
    if item.role is None:
        raise refused("A message has a role.", f"{place}.role", "missing_field")
    said = said_by(item.role, text_of(item.content, f"{place}.content"), f"{place}.content", most_chars)
    if said.content.strip():
        messages.append(said)


def _add_call(messages: list[ChatMessage], item: ItemIn, place: str) -> None:
    if item.call_id is None or item.name is None:
        name = "call_id" if item.call_id is None else "name"
        raise refused(f"A call has a `{name}`.", f"{place}.{name}", "missing_field")
    call = call_of(item.call_id, item.name, item.arguments or "{}")
    last = messages[-1] if messages else None
    if last is not None and last.role == "assistant":  # the answer they came with, or the call before
        calls = [*last.extra.get("tool_calls", ()), call]
        messages[-1] = ChatMessage("assistant", last.content, {"tool_calls": calls})
    else:
        messages.append(ChatMessage("assistant", "", {"tool_calls": [call]}))


def last_answered(items: Sequence[ItemIn]) -> str | None:
    """The call that the newest output in the input is of."""
    return next((item.call_id for item in reversed(items) if item.type == "function_call_output"), None)
