"""How much of a conversation a model reads: told too long by the model, shortened from its old end. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wire.errors import ApiError

if TYPE_CHECKING:  # which asks here how to shorten its request
    from flows.turn import ChatMessage

# vLLM's words (renderers/params.py, serve/utils/api_utils.py, v1/engine/input_processor.py), and OpenAI's.
_TOO_LONG = ("context length", "maximum model length")


def exceeds_context(error: ApiError) -> bool:
    """Whether the model refused a request because it has more tokens than its context holds."""
    return error.status == 400 and any(words in error.detail.lower() for words in _TOO_LONG)


def newer_half(messages: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...] | None:
    """The messages without the older half of them; None when only the newest is left.

    A system message at the head stays, and what follows it never begins with an answer: chat templates refuse that.
    """
    head = messages[:1] if messages and messages[0].role == "system" else ()
    said = messages[len(head) :]
    if len(said) < 2:
        return None
    kept = said[(len(said) + 1) // 2 :]
    while len(kept) > 1 and kept[0].role == "assistant":
        kept = kept[1:]
    return head + kept
