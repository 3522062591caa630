"""The tool `speak`, with a TTS server that answers as the test says."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from services_node.mcp_server.catalogue import product_registry
from services_node.mcp_server.errors import ToolFailed
from services_node.mcp_server.registry import AudioContent, Call, ToolReply
from wire.clients.speech import SpeechStream
from wire.errors import ApiError, InvalidRequest, Unavailable
from wire.ids import uuid7


class Voice:
    def __init__(self, *chunks: bytes | ApiError) -> None:
        self.chunks = chunks
        self.asked: Mapping[str, Any] = {}
        self.given = 0

    @asynccontextmanager
    async def speak(self, request: Mapping[str, Any], headers: Mapping[str, str]) -> AsyncIterator[SpeechStream]:
        self.asked = request
        if isinstance(self.chunks[0], ApiError):
            raise self.chunks[0]
        yield SpeechStream("kokoro", "ef_dora", 24000, "audio/mpeg", False, self._chunks())

    async def _chunks(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            assert isinstance(chunk, bytes)
            self.given += 1
            yield chunk


async def spoken(voice: Voice, **arguments: Any) -> ToolReply:
    parts: Any = SimpleNamespace(speech=voice, settings=SimpleNamespace(mcp_result_binary_bytes=10))
    reply = await product_registry().tools["speak"].run(arguments, Call(uuid7(), "ana", parts))
    assert isinstance(reply, ToolReply)
    return reply


async def test_a_text_becomes_audio_and_a_word_about_it() -> None:
    voice = Voice(b"abc", b"def")
    text, audio = (await spoken(voice, text="hola", language="es")).content
    assert isinstance(audio, AudioContent) and audio.mime_type == "audio/mpeg"
    assert base64.b64decode(audio.data) == b"abcdef" and "ef_dora" in text.text  # type: ignore[union-attr]
    assert voice.asked == {"input": "hola", "language": "es"}


async def test_audio_beyond_a_results_limit_is_not_waited_for() -> None:
    voice = Voice(*[b"abcdef"] * 9)
    with pytest.raises(ToolFailed, match="flow `speech`"):
        await spoken(voice, text="hola")
    assert voice.given == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [(InvalidRequest("x", code="nothing_to_say"), "nothing in `text`"), (Unavailable("The voice is away."), "away")],
)
async def test_why_it_cannot_is_told(error: ApiError, said: str) -> None:
    with pytest.raises(ToolFailed, match=said):
        await spoken(Voice(error), text="hola")
