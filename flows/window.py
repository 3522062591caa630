"""How much of a conversation a model reads: told too long by the model, shortened from its old end. Pure."""

from __future__ import annotations

import json
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
    """The messages without the older half of them; None when only the question, and what belongs to it, is left.

    A system message at the head stays, and what follows it never begins with an answer: chat templates refuse that.
    """
    head = messages[:1] if messages and messages[0]["role"] == "system" else ()
    said = messages[len(head) :]
    first = min((len(said) + 1) // 2, question_at(said))
    return head + beginning_with_the_user(said[first:]) if first else None


def question_at(messages: Sequence[Message]) -> int:
    """Where what belongs to the question begins: it, calls of tools and their results are never parted. The last place
    where nobody asks anything."""
    asked = [place for place, message in enumerate(messages) if message["role"] == "user"]
    return asked[-1] if asked else max(0, len(messages) - 1)


def beginning_with_the_user(said: tuple[Message, ...]) -> tuple[Message, ...]:
    """Without answers, and results of tools, that stand before the first question that is left."""
    while len(said) > 1 and said[0]["role"] in {"assistant", "tool"}:
        said = said[1:]
    return said


def text_of(message: Message) -> str:
    """All of a message that costs tokens."""
    calls = message.get("tool_calls")
    return f"{message.get('content') or ''}{json.dumps(calls, ensure_ascii=False) if calls else ''}"


def surely_fits(messages: Iterable[Message], room_tokens: int) -> bool:
    """Whether the messages fit whatever the tokenizer: no vocabulary we know makes a token of less than a byte."""
    room = room_tokens
    for message in messages:
        room -= len(text_of(message).encode(errors="replace")) + MESSAGE_TOKENS
        if room < 0:
            return False
    return True


def newest_that_fit(messages: tuple[Message, ...], counts: Sequence[int], room_tokens: int) -> tuple[Message, ...]:
    """The newest messages whose tokens fit; the system message at the head, and all since the question, always stay."""
    head = 1 if messages and messages[0]["role"] == "system" else 0
    first = max(head, question_at(messages))
    room = room_tokens - sum(count + MESSAGE_TOKENS for count in [*counts[:head], *counts[first:]])
    while first > head and room >= counts[first - 1] + MESSAGE_TOKENS:
        first -= 1
        room -= counts[first] + MESSAGE_TOKENS
    return messages[:head] + beginning_with_the_user(messages[first:])
