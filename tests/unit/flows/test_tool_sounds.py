"""Sounds that a tool answers with."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from flows.tools.box import Surroundings
from flows.tools.sounds import text_with_sounds
from tests.unit.flows.turn_fakes import at_once
from tests.unit.flows.voice_fakes import Kept
from wire.clients.mcp import ToolResult
from wire.context import RequestContext
from wire.errors import TooLarge
from wire.ids import uuid7
from wire.principals import LOCAL
from wire.trace import TraceContext

SOUND = {"type": "audio", "mimeType": "audio/mpeg", "data": base64.b64encode(b"mp3").decode()}


async def read(block: dict[str, Any], kept: Kept) -> str:
    context: Any = RequestContext(uuid7(), TraceContext.new(), LOCAL)
    around = Surroundings(context, uuid7(), "en", None, None, at_once, False, uuid7())  # type: ignore[arg-type]
    result = ToolResult(({"type": "text", "text": "Spoken."}, block), None, False, {})
    return await text_with_sounds(result, kept, around)


async def test_a_sound_becomes_a_file_of_the_run_and_a_word_with_its_place() -> None:
    kept = Kept()
    said, told = (await read(SOUND, kept)).splitlines()
    assert kept.files == {"speech.mp3": b"mp3"} and said == "Spoken."
    assert told.startswith("file kept: speech.mp3 (audio/mpeg, /api/files/") and told.endswith("/content)")


@pytest.mark.parametrize("block", [{**SOUND, "data": "?"}, {**SOUND, "mimeType": "audio/midi"}, {"type": "image"}])
async def test_what_is_no_sound_that_is_known_is_told_as_ever(block: dict[str, Any]) -> None:
    kept = Kept()
    assert (await read(block, kept)).splitlines()[1].startswith("[") and not kept.files


async def test_a_sound_that_cannot_be_kept_costs_nothing_of_the_words() -> None:
    told = await read(SOUND, Kept(TooLarge("It is full.")))
    assert told.splitlines() == ["Spoken.", "file not kept: speech.mp3: It is full."]
