"""The text as sentences, with this service's error for one that has none."""

from __future__ import annotations

from collections.abc import Sequence

from services_node.tts_server import errors
from services_node.tts_server.speaking import Sentence
from services_node.tts_server.text import NothingToSay, read_text


def read(text: str, language: str | None, default_language: str, normalise: bool) -> Sequence[Sentence]:
    """Raises ApiError: 400 nothing_to_say."""
    try:
        return read_text(text, language=language, default_language=default_language, normalise=normalise)
    except NothingToSay:
        raise errors.nothing_to_say() from None
