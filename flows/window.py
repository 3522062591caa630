"""How much of a conversation a model reads: told too long by the model, shortened from its old end. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wire.errors import ApiError

Message = Mapping[str, Any]  # OpenAI's form
MESSAGE_TOKENS = 8  # that a chat template puts around a message; the ones we know take 3 to 7

# vLLM's words (renderers/params.py, serve/utils/api_utils.py, v1/engine/input_processor.py), and OpenAI's.
_TOO_LONG = ("context length", "maximum model length")


def exceeds_context(error: ApiError) -> bool:
    """Whether the model refused a request because it has more tokens than its context holds."""
    return error.status == 400 and any(words in error.detail.lower() for words in _TOO_LONG)


def newer_half(messages: tuple[Message, ...]) -> tuple[Message, ...] | None:
    """The messages without the older half of them; None when only the newest is left.

    A system message at the head stays, and what follows it never begins with an answer: chat templates refuse that.
    """
    head = messages[:1] if messages and messages[0]["role"] == "system" else ()
    said = messages[len(head) :]
    if len(said) < 2:
        return None
    return head + beginning_with_the_user(said[(len(said) + 1) // 2 :])


def beginning_with_the_user(said: tuple[Message, ...]) -> tuple[Message, ...]:
    """Without answers, and results of tools, that stand before the first question that is left."""
    while len(said) > 1 and said[0]["role"] in {"assistant", "tool"}:
        said = said[1:]
    return said


def surely_fits(messages: Iterable[Message], room_tokens: int) -> bool:
    """Whether the messages fit whatever the tokenizer: no vocabulary we know makes a token of less than a byte."""
    room = room_tokens
    for message in messages:
        room -= len(str(message.get("content") or "").encode(errors="replace")) + MESSAGE_TOKENS
        if room < 0:
            return False
    return True


def newest_that_fit(messages: tuple[Message, ...], counts: Sequence[int], room_tokens: int) -> tuple[Message, ...]:
    """The newest messages whose tokens fit; the system message at the head and the newest one always stay."""
    head = 1 if messages and messages[0]["role"] == "system" else 0
    room = room_tokens - sum(count + MESSAGE_TOKENS for count in counts[:head])
    first = len(messages)
    for index in range(len(messages) - 1, head - 1, -1):
        room -= counts[index] + MESSAGE_TOKENS
        if room < 0 and index < len(messages) - 1:
            break
        first = index
    return messages[:head] + beginning_with_the_user(messages[first:])
