"""From a chat request to what the model is asked: pure decisions over plain values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from db.records import MessageRecord
from flows.tools.policy import Allowed
from flows.turn import ChatMessage, ToolsWanted
from flows.voice import VoiceWish
from services_node.chat_api.schemas import ChatRequest
from wire.errors import ValidationFailed

TITLE_CHARS = 80


def new_messages(request: ChatRequest, max_chars: int) -> tuple[ChatMessage, ...]:
    """What the request adds to its conversation. Raises ValidationFailed naming the field at fault."""
    given = [name for name in ("message", "messages", "prompt") if getattr(request, name) is not None]
    if not given:
        raise ValidationFailed(
            "Say something: `message`, `messages` or `prompt`.", param="message", code="missing_field"
        )
    if len(given) > 1:
        named = " and ".join(f"`{name}`" for name in given)
        raise ValidationFailed(f"Send one of {named}, not both.", param=given[1], code="ambiguous_message")
    if request.messages is None:
        name = given[0]
        text = request.message if request.message is not None else request.prompt or ""
        return (ChatMessage("user", checked_text(text, name, max_chars)),)
    messages = tuple(
        ChatMessage(one.role, checked_text(one.content, f"messages.{index}.content", max_chars))
        for index, one in enumerate(request.messages)
    )
    if messages[-1].role != "user":
        raise ValidationFailed("The last message must be the user's.", param="messages", code="last_message_not_user")
    return messages


def checked_text(text: str, name: str, max_chars: int) -> str:
    if not text.strip():
        raise ValidationFailed(f"`{name}` is empty.", param=name, code="empty_message")
    if len(text) > max_chars:
        raise ValidationFailed(
            f"`{name}` has {len(text)} characters; at most {max_chars} are read (CAPIBARA6_MAX_MESSAGE_CHARS).",
            param=name,
            code="message_too_long",
        )
    return text


def voice_wish(request: ChatRequest) -> VoiceWish | None:
    """`speak`: missing or false: the answer is not spoken; true: as the TTS server does by itself; or what is wished of
    the voice."""
    if request.speak is None or request.speak is False:
        return None
    return VoiceWish() if request.speak is True else request.speak.wish()


def tools_wanted(request: ChatRequest) -> ToolsWanted:
    """`tools`: missing or true: those without side effects, and code in a sandbox; false: none; names: just these."""
    if request.tools is False:
        return ToolsWanted(wanted=False)
    if request.tools is None or request.tools is True:
        return ToolsWanted()
    return ToolsWanted(wanted=bool(request.tools), allowed=Allowed(frozenset(request.tools)))


def earlier_messages(request: ChatRequest, stored: Sequence[MessageRecord]) -> list[ChatMessage]:
    """What was said before: the conversation's own messages, or the context an older client sends along."""
    if stored:
        return [ChatMessage(message.role, message.content) for message in stored if message.content]
    return [ChatMessage(one.role, one.content) for one in request.context or () if one.content.strip()]


def prompt(
    earlier: Sequence[ChatMessage], new: Sequence[ChatMessage], *, most_messages: int, most_chars: int
) -> tuple[ChatMessage, ...]:
    """What the model gets: everything new, and the newest of what was said before within both limits."""
    kept: list[ChatMessage] = []
    system = [message for message in earlier if message.role == "system"]  # what it was told to be stays, however long
    room = most_chars - sum(len(message.content) for message in [*system, *new])
    for message in reversed([message for message in earlier if message.role != "system"]):
        room -= len(message.content)
        if room < 0 or len(kept) >= most_messages:
            break
        kept.append(message)
    kept.reverse()
    while kept and kept[0].role == "assistant":  # a window that begins with an answer: chat templates refuse it
        kept.pop(0)
    return tuple(alternating([*system, *kept, *new]))


def alternating(messages: Iterable[ChatMessage]) -> list[ChatMessage]:
    """One message a turn: chat templates want user and assistant to alternate, and a question that got no answer is
    followed by the next one. Such neighbours are joined; the same text said again is said once. Calls of tools and
    their results stand for themselves.
    """
    joined: list[ChatMessage] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last is None or last.role != message.role or last.extra or message.extra:
            joined.append(message)
        elif last.content != message.content:
            joined[-1] = ChatMessage(message.role, f"{last.content}\n\n{message.content}")
    return joined


def title(messages: Sequence[ChatMessage]) -> str:
    """A conversation's title: how its first question begins."""
    first = next((message.content for message in messages if message.role == "user"), messages[0].content)
    line = " ".join(first.split())
    return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1]}…"
