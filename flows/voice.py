"""How a text is to be spoken, and one text spoken: what chats and documents have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from flows.audio import AudioFormat
from wire.clients.speech import DAMAGED, NOTHING_TO_SAY, Captioned, SpeechStream
from wire.errors import ApiError, DeadlineExceeded, TooManyRequests, Unavailable, UpstreamFailed

SPEAK = "speak"
TRIES = 3  # of a sentence of which nothing was heard yet
LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class VoiceWish:
    """None: as the TTS server does by itself (its own voice; the language found out for each sentence)."""

    voice: str | None = None
    format: AudioFormat = "mp3"
    language: str | None = None
    speed: float | None = None
    model: str | None = None

    def request(self, text: str, voice: str | None = None) -> dict[str, Any]:
        """OpenAI's request for the text's samples. voice: who has begun to speak, and goes on in whatever language."""
        wanted = {"model": self.model, "voice": voice or self.voice, "language": self.language, "speed": self.speed}
        given = {name: value for name, value in wanted.items() if value is not None}
        return {"input": text, "response_format": "pcm", **given}


class Speaker(Protocol):
    """`wire.clients.speech.SpeechClient`."""

    def speak(
        self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[SpeechStream]: ...

    async def captions(self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Captioned: ...


@dataclass(slots=True)
class Said:
    """Who spoke, once somebody has."""

    engine: str | None = None
    voice: str | None = None


@asynccontextmanager
async def spoken(
    speaker: Speaker, request: Mapping[str, Any], headers: Mapping[str, str], said: Said
) -> AsyncIterator[AsyncIterator[bytes]]:
    """The samples of one text as they come. Leaving stops the speaking."""
    async with aclosing(_samples(speaker, request, headers, said)) as samples:
        yield samples


async def _samples(
    speaker: Speaker, request: Mapping[str, Any], headers: Mapping[str, str], said: Said
) -> AsyncGenerator[bytes, None]:
    """None of a text with nothing to say. What failed before it was heard is tried again."""
    for attempt in range(1, TRIES + 1):
        heard = False
        try:
            async with speaker.speak(request, headers) as stream:
                said.engine, said.voice = stream.engine or said.engine, stream.voice or said.voice
                async for chunk in stream.chunks:
                    heard = True
                    yield chunk
            return
        except ApiError as error:
            if error.code == NOTHING_TO_SAY:
                return
            if heard or attempt == TRIES or not worth_trying_again(error):
                raise
            await asyncio.sleep(pause_after(error))


def worth_trying_again(error: BaseException) -> bool:
    """Whether the same may go well in a moment: an engine that ended, a queue that was full."""
    if isinstance(error, DeadlineExceeded) or (isinstance(error, ApiError) and error.code == DAMAGED):
        return False
    return isinstance(error, Unavailable | TooManyRequests | UpstreamFailed)


def pause_after(error: ApiError) -> float:
    return min(LONGEST_PAUSE_SECONDS, error.retry_after_seconds or 0.5)
