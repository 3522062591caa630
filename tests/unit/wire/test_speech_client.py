"""The client of the TTS server: what streams, errors and odd answers become."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from wire.clients.speech import SpeechClient
from wire.errors import ApiError, InvalidRequest, TooManyRequests, Unavailable, UpstreamFailed

HEADERS = {"x-capibara6-engine": "kokoro", "x-capibara6-voice": "ef_dora", "x-capibara6-cache": "hit",
           "x-capibara6-sample-rate": "24000", "content-type": "audio/mpeg"}  # fmt: skip


class Body(httpx.AsyncByteStream):
    """Its pieces, and an error where one stands."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = pieces
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        self.closed = True


def client_of(reply: httpx.Response | Exception) -> SpeechClient:
    def answer(request: httpx.Request) -> httpx.Response:
        assert "traceparent" in request.headers
        if isinstance(reply, Exception):
            raise reply
        return reply

    client = SpeechClient("http://tts.test")
    client._http = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://tts.test")
    return client


async def heard(reply: httpx.Response | Exception) -> bytes:
    async with client_of(reply).speak({"input": "hola"}) as stream:
        assert (stream.engine, stream.voice, stream.sample_rate, stream.cached) == ("kokoro", "ef_dora", 24000, True)
        return b"".join([chunk async for chunk in stream.chunks])


async def test_audio_comes_as_it_is_sent() -> None:
    assert await heard(httpx.Response(200, headers=HEADERS, stream=Body(b"ab", b"c"))) == b"abc"


@pytest.mark.parametrize(
    ("body", "kind"),
    [(Body(b"ab", httpx.RemoteProtocolError("incomplete chunked read")), Unavailable), (Body(), UpstreamFailed)],
)
async def test_a_stream_that_breaks_off_is_an_error_and_no_short_file(body: Body, kind: type[ApiError]) -> None:
    with pytest.raises(kind):
        await heard(httpx.Response(200, headers=HEADERS, stream=body))
    assert body.closed


async def test_leaving_early_closes_the_stream() -> None:
    body = Body(b"ab", b"cd")
    async with client_of(httpx.Response(200, headers=HEADERS, stream=body)).speak({"input": "hola"}) as stream:
        assert await anext(stream.chunks) == b"ab"
    assert body.closed


def refused(status: int, code: str) -> httpx.Response:
    told = {"message": "no", "type": "invalid_request_error", "param": "voice", "code": code}
    return httpx.Response(status, json={"error": told}, headers={"retry-after": "3"})


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (refused(400, "voice_not_found"), InvalidRequest, "voice_not_found"),
        (refused(429, "queue_full"), TooManyRequests, "queue_full"),
        (httpx.ConnectError("refused"), Unavailable, "tts_server_unreachable"),
    ],
)
async def test_errors_come_by_their_names(reply: Any, kind: type[ApiError], code: str) -> None:
    with pytest.raises(kind) as error:
        await heard(reply)
    assert error.value.code == code


async def test_captions_are_read_and_another_form_is_an_error() -> None:
    told = {"audio": base64.b64encode(b"ab").decode(), "engine": "kokoro", "voice": "v", "sample_rate": 24000,
            "duration_seconds": 1.5, "words": [{"word": "hola", "start": 0, "end": 1}], "segments": []}  # fmt: skip
    whole = await client_of(httpx.Response(200, json=told)).captions({"input": "hola"})
    assert whole.audio == b"ab" and whole.words[0]["word"] == "hola"
    for odd in ({}, {**told, "audio": "?"}, []):
        with pytest.raises(UpstreamFailed):
            await client_of(httpx.Response(200, json=odd)).captions({"input": "hola"})
    with pytest.raises(UpstreamFailed, match="no JSON"):
        await client_of(httpx.Response(200, text="<html>")).captions({"input": "hola"})


async def test_voices_and_engines_are_listed() -> None:
    assert await client_of(httpx.Response(200, json={"voices": [{"id": "v"}]})).voices() == [{"id": "v"}]
    assert await client_of(httpx.Response(200, json={"data": [{"id": "kokoro"}]})).models() == [{"id": "kokoro"}]
