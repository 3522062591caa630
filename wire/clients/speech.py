"""Client of the TTS server (services:5002), in OpenAI's form."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx

from wire.clients.base import ServiceClient, error_from_body
from wire.context import outgoing_headers
from wire.errors import UpstreamFailed

DAMAGED = "engine_damaged"  # of an engine whose files somebody has to put right
NOTHING_TO_SAY = "nothing_to_say"  # the code of a text in which nothing is to be spoken
WHOLE_SECONDS = 600.0  # longest wait for audio that comes at once: the server gives up by itself before
PCM_HERTZ = 24_000  # of `response_format: pcm`, whatever speaks: signed 16-bit little-endian mono samples, as OpenAI's


@dataclass(frozen=True, slots=True)
class SpeechStream:
    """Audio under way. engine, voice: who speaks. sample_rate: hertz. cached: it was spoken before.

    chunks: the audio's bytes; raises ApiError when it breaks off: what ends without an error is whole.
    """

    engine: str
    voice: str
    sample_rate: int
    media_type: str
    cached: bool
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Captioned:
    """audio: in the form that was asked for. words: `{word, start, end}`; segments: `{text, spoken, language, start,
    end}`; seconds from the audio's beginning."""

    audio: bytes
    engine: str
    voice: str
    sample_rate: int
    duration_seconds: float
    words: list[dict[str, Any]] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)


class SpeechClient(ServiceClient):
    """request: OpenAI's (`input`, `voice`, `model`, `response_format`, `speed`) with our `language`. Methods raise
    ApiError: as the server said it, or Unavailable and DeadlineExceeded where it said nothing."""

    def __init__(self, base_url: str, *, key: str | None = None, read_seconds: float = 120) -> None:
        super().__init__(base_url, name="tts-server", key=key, read_seconds=read_seconds)

    @asynccontextmanager
    async def speak(
        self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[SpeechStream]:
        """Opens `POST /v1/audio/speech`. Leaving the context closes it, which stops the speaking."""
        sent = headers or outgoing_headers()
        try:
            async with self._http.stream("POST", "/v1/audio/speech", json=dict(request), headers=sent) as reply:
                if reply.status_code >= 400:
                    raise error_from_body(self.name, reply.status_code, await reply.aread(), reply.headers)
                yield SpeechStream(
                    engine=reply.headers.get("x-capibara6-engine", ""),
                    voice=unquote(reply.headers.get("x-capibara6-voice", "")),
                    sample_rate=_hertz(reply.headers.get("x-capibara6-sample-rate", "")),
                    media_type=reply.headers.get("content-type", ""),
                    cached=reply.headers.get("x-capibara6-cache") == "hit",
                    chunks=self._chunks(reply),
                )
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error

    async def _chunks(self, reply: httpx.Response) -> AsyncIterator[bytes]:
        some = False
        async for chunk in reply.aiter_raw():
            some = some or bool(chunk)
            yield chunk
        if not some:
            raise UpstreamFailed("The TTS server sent no audio.", code="speech_broken", retry_after_seconds=1)

    async def captions(self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Captioned:
        """The whole audio, with the times of its words."""
        sent = headers or outgoing_headers()
        try:
            limit = httpx.Timeout(
                WHOLE_SECONDS, connect=self._http.timeout.connect, pool=self._http.timeout.pool
            )  # nothing is sent before all is spoken
            reply = await self._http.post("/v1/audio/captions", json=dict(request), headers=sent, timeout=limit)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if reply.status_code >= 400:
            raise error_from_body(self.name, reply.status_code, reply.content, reply.headers)
        return captioned(self.json_of(reply))

    async def voices(self) -> list[dict[str, Any]]:
        """`{id, name, language, engine, …}` of every voice."""
        found: list[dict[str, Any]] = (await self.get_json("/v1/audio/voices"))["voices"]
        return found

    async def models(self) -> list[dict[str, Any]]:
        """The engines, as the entries of OpenAI's list of models."""
        found: list[dict[str, Any]] = (await self.get_json("/v1/models"))["data"]
        return found


def captioned(told: Any) -> Captioned:
    """Reads what `/v1/audio/captions` answers. Raises UpstreamFailed for what is not in its form."""
    try:
        return Captioned(
            audio=base64.b64decode(told["audio"], validate=True),
            engine=str(told["engine"]),
            voice=str(told["voice"]),
            sample_rate=int(told["sample_rate"]),
            duration_seconds=float(told["duration_seconds"]),
            words=list(told["words"]),
            segments=list(told["segments"]),
        )
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise UpstreamFailed("tts-server answered in a form that is not known here.") from error


def _hertz(told: str) -> int:
    return int(told) if told.isdecimal() else PCM_HERTZ
