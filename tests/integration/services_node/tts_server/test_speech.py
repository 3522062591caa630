"""Speech over HTTP: streamed while it is made, broken off noticeably, stopped with its listener."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
import pytest_asyncio
from openai import APIError, AsyncOpenAI, AsyncStream, BadRequestError, NotFoundError

from services_node.tts_server import telling
from services_node.tts_server.engines.contract import EngineInfo, Voice
from tests.integration.services_node.tts_server.serving import Served, eventually, served
from tests.unit.services_node.tts_server.fakes import FakeEngines

WORDS = "uno dos tres cuatro"  # a second
COQUI_READY = EngineInfo("coqui", "ready", 24_000, voices=(Voice("css10", "es"),))


@pytest_asyncio.fixture
async def speech(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(tmp_path) as made:
        yield made


@pytest_asyncio.fixture
async def openai(speech: Served) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{speech.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def seconds_of(audio: bytes) -> float:
    with av.open(io.BytesIO(audio)) as container:
        rate = container.streams.audio[0].rate
        return float(sum(frame.samples for frame in container.decode(audio=0)) / rate)


def events_of(body: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line]


async def test_openais_own_client_fetches_a_stream_while_it_is_made(speech: Served, openai: AsyncOpenAI) -> None:
    speaker = speech.engines.kokoro
    speaker.only(1)
    wanted = openai.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input=WORDS)
    async with wanted as reply:
        assert speaker.pieces == 1  # the reply has begun, and there is one word of four
        assert reply.headers["content-type"] == "audio/mpeg"
        assert reply.headers["x-capibara6-engine"] == "kokoro"
        assert reply.headers["x-capibara6-voice"] == "ef_dora"
        assert reply.headers["x-capibara6-sample-rate"] == "24000"
        assert reply.headers["x-capibara6-cache"] == "miss"
        pieces = reply.iter_bytes()
        first = await anext(pieces)
        assert speaker.pieces == 1 and first
        speaker.allow(3)
        rest = [piece async for piece in pieces]
    assert seconds_of(first + b"".join(rest)) == pytest.approx(1, abs=0.12)


async def test_openais_own_client_is_told_errors_by_their_names(openai: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError) as wrong:
        await openai.audio.speech.create(model="tts-1", voice="nobody", input=WORDS)
    assert wrong.value.code == "unknown_voice" and wrong.value.param == "voice" and "ef_dora" in wrong.value.message
    with pytest.raises(NotFoundError) as missing:
        await openai.audio.speech.create(model="coqui", voice="alloy", input=WORDS)
    assert missing.value.code == "engine_not_installed" and "model.pth" in missing.value.message


async def test_an_engine_whose_weights_have_come_speaks_when_it_is_asked_again(speech: Served) -> None:
    assert (await speech.speech(WORDS, model="coqui")).status_code == 404
    speech.engines.on_start = lambda: setattr(speech.engines.speakers["coqui"], "info", COQUI_READY)
    assert (await speech.speech(WORDS, model="coqui")).status_code == 200


async def test_a_listener_that_leaves_stops_the_speaker_and_gives_its_place_back(speech: Served) -> None:
    speaker = speech.engines.kokoro
    speaker.only(2)
    body = {"input": "\n".join([WORDS] * 40)}
    async with speech.http.stream("POST", "/v1/audio/speech", json=body) as reply:
        await anext(reply.aiter_raw())
        assert speaker.open and speech.parts.places.taken == 1
    await eventually(lambda: not speaker.open and not speech.parts.places.taken, "nothing is spoken any more")
    assert len(speaker.heard) <= 2


async def test_a_listener_that_leaves_before_the_first_word_stops_it_too(speech: Served) -> None:
    speaker = speech.engines.kokoro
    speaker.only(0)
    asking = asyncio.create_task(speech.speech(WORDS))
    await eventually(lambda: speaker.open, "it is being spoken")
    asking.cancel()
    await eventually(lambda: not speaker.open and not speech.parts.places.taken, "nothing is spoken any more")


@pytest.mark.parametrize("bound", ["request", "stalled"])
async def test_a_client_that_does_not_read_holds_its_own_work_back_and_is_cut_off_in_time(
    tmp_path: Path, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bound == "stalled":
        monkeypatch.setattr(telling, "_STALLED_SECONDS", 0.5)
    body = json.dumps({"input": "\n".join(["a " * 50] * 40), "response_format": "pcm"})  # 24 MB
    head = f"POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n"
    async with served(tmp_path, tts_request_seconds=0.7 if bound == "request" else 600.0) as speech:
        address = httpx.URL(speech.url)
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(10)
            client.connect((address.host, address.port))
            client.sendall(f"{head}content-type: application/json\r\n\r\n{body}".encode())
            await eventually(lambda: speech.engines.kokoro.heard, "it is being spoken")
            await eventually(lambda: not speech.parts.places.taken, "its time is over")
            assert len(speech.engines.kokoro.heard) < 40 and not speech.engines.kokoro.open
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while more := await asyncio.to_thread(client.recv, 65536):
                    got += more
            assert got.startswith(b"HTTP/1.1 200") and not got.endswith(b"0\r\n\r\n"), "it is not taken for the whole"


async def test_a_crash_before_the_first_word_is_an_error_with_a_status(speech: Served) -> None:
    reply = await speech.speech("crash uno")
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "engine_crashed"


@pytest.mark.parametrize("named", ["mp3", "wav", "opus"])
async def test_a_crash_after_it_breaks_the_stream_off(speech: Served, named: str) -> None:
    body = {"input": "uno dos tres crash", "response_format": named}
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        async with speech.http.stream("POST", "/v1/audio/speech", json=body) as reply:
            assert reply.status_code == 200
            await reply.aread()
    assert not speech.parts.places.taken and not len(speech.parts.cache)


async def test_a_crash_among_events_is_an_event(speech: Served, openai: AsyncOpenAI) -> None:
    reply = await speech.speech("uno dos crash", stream_format="sse")
    *deltas, error = events_of(reply.text)
    assert {one["type"] for one in deltas} == {"speech.audio.delta"}
    assert error["type"] == "error" and error["error"]["code"] == "engine_crashed"


async def test_the_queue_is_bounded_and_its_places_come_back(tmp_path: Path) -> None:
    async with served(tmp_path, tts_concurrent=1, tts_queue=1, tts_queue_seconds=10) as speech:
        speech.engines.kokoro.only(0)
        first = asyncio.create_task(speech.speech("uno"))
        await eventually(lambda: speech.parts.places.taken, "the first is spoken")
        second = asyncio.create_task(speech.speech("dos"))
        await eventually(lambda: speech.parts.places.waiting, "the second waits")
        third = await speech.speech("tres")
        assert third.status_code == 429 and third.json()["error"]["code"] == "queue_full"
        assert int(third.headers["retry-after"]) >= 1
        second.cancel()
        await eventually(lambda: not speech.parts.places.waiting, "the second has left the queue")
        fourth = asyncio.create_task(speech.speech("cuatro"))
        await eventually(lambda: speech.parts.places.waiting, "the fourth waits in its place")
        speech.engines.kokoro.allow(2)
        assert [(await one).status_code for one in (first, fourth)] == [200, 200]
        assert [one.text for one in speech.engines.kokoro.heard] == ["uno", "cuatro"]


async def test_waiting_has_an_end(tmp_path: Path) -> None:
    async with served(tmp_path, tts_concurrent=1, tts_queue_seconds=0.05) as speech:
        speech.engines.kokoro.only(0)
        first = asyncio.create_task(speech.speech("uno"))
        await eventually(lambda: speech.parts.places.taken, "the first is spoken")
        late = await speech.speech("dos")
        assert late.status_code == 503 and late.json()["error"]["code"] == "queue_wait_over"
        speech.engines.kokoro.allow(1)
        assert (await first).status_code == 200


async def test_an_engine_that_gives_nothing_has_failed(tmp_path: Path) -> None:
    async with served(tmp_path, tts_engine_silence_seconds=0.05) as speech:
        reply = await speech.speech("hang")
        assert reply.status_code == 504 and reply.json()["error"]["code"] == "engine_silent"
        await eventually(lambda: not speech.engines.kokoro.open, "it was stopped")


async def test_a_request_has_an_end(tmp_path: Path) -> None:
    async with served(tmp_path, tts_request_seconds=0.2) as speech:
        reply = await speech.speech("hang")
        assert reply.status_code == 504 and reply.json()["error"]["code"] == "request_too_long"
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await speech.speech("uno hang")
        await eventually(lambda: not speech.engines.kokoro.open, "it was stopped")


async def test_what_was_said_is_said_again_without_the_engine(speech: Served) -> None:
    first, again = await speech.speech(WORDS), await speech.speech(WORDS)
    assert again.content == first.content
    assert (first.headers["x-capibara6-cache"], again.headers["x-capibara6-cache"]) == ("miss", "hit")
    assert len(speech.engines.kokoro.heard) == 1
    other = await speech.speech(WORDS, voice="em_alex")
    assert other.headers["x-capibara6-cache"] == "miss"


async def test_captions_tell_when_each_word_is_said(speech: Served) -> None:
    reply = await speech.http.post(
        "/v1/audio/captions", json={"input": "uno dos\nen: three four", "response_format": "wav", "voice": "ef_dora"}
    )
    told = reply.json()
    assert [(word["word"], word["start"], word["end"]) for word in told["words"]] == [
        ("uno", 0, 0.25), ("dos", 0.25, 0.5), ("three", 0.5, 0.75), ("four", 0.75, 1.0),
    ]  # fmt: skip
    assert told["segments"][1] == {
        "text": "en: three four", "spoken": "three four", "language": "en", "start": 0.5, "end": 1.0,
    }  # fmt: skip
    assert (told["engine"], told["voice"], told["format"], told["sample_rate"]) == ("kokoro", "ef_dora", "wav", 24_000)
    audio = b64decode(told["audio"])
    assert seconds_of(audio) == told["duration_seconds"] == 1.0
    assert int.from_bytes(audio[40:44], "little") == len(audio) - 44  # its length is known


async def test_events_carry_the_audio_and_captions_the_words(speech: Served) -> None:
    plain = await speech.speech(WORDS, stream_format="sse", response_format="pcm")
    assert plain.headers["content-type"].startswith("text/event-stream")
    *deltas, done = events_of(plain.text)
    assert sum(len(b64decode(one["audio"])) for one in deltas) == 48_000
    assert done["type"] == "speech.audio.done" and done["usage"]["input_tokens"] == len(WORDS)
    body = {"input": WORDS, "stream_format": "sse", "response_format": "pcm"}
    for _ in range(2):  # the second time from the cache
        told = events_of((await speech.http.post("/v1/audio/captions", json=body)).text)
        assert [word["word"] for one in told for word in one["words"]] == WORDS.split()
        assert [segment["spoken"] for one in told for segment in one["segments"]] == [WORDS]


async def test_older_clients_find_their_keys_or_a_bare_wav(speech: Served) -> None:
    body = {"text": WORDS, "language": "es", "voice_id": "carlos"}
    told = (await speech.http.post("/tts", json=body)).json()
    assert told["audioContent"] == told["audio"] and seconds_of(b64decode(told["audio"])) == 1
    assert (told["status"], told["voice"], told["characters"], told["format"]) == ("success", "em_alex", 19, "wav")
    bare = await speech.http.post("/tts", json=body, headers={"accept": "audio/wav"})
    assert bare.headers["content-type"] == "audio/wav" and bare.content[:4] == b"RIFF"
    wrong = await speech.http.post("/tts", json={"text": "  "})
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "text"
    assert "carlos" in (await speech.http.get("/voices")).json()["voices"]["predefined"]
    assert (await speech.http.post("/preload", json={"model": "piper"})).json()["status"] == "success"
    assert (await speech.http.post("/preload")).json()["model"] == "kokoro"
    assert (await speech.http.post("/preload", json={"model": "coqui"})).status_code == 404
    assert (await speech.http.get("/health")).json()["status"] == "healthy"


async def test_engines_voices_and_figures_are_told(speech: Served) -> None:
    models = {one["id"]: one for one in (await speech.http.get("/v1/models")).json()["data"]}
    assert models["coqui"]["state"] == "missing" and "model.pth" in models["coqui"]["mend"]
    assert models["kokoro"]["default"] and (await speech.http.get("/v1/models/tts-1")).json()["id"] == "kokoro"
    told = (await speech.http.get("/v1/audio/voices")).json()
    [dora] = [voice for voice in told["voices"] if voice["id"] == "ef_dora"]
    assert dora == {
        "id": "ef_dora", "name": "Dora", "language": "es", "engine": "kokoro", "gender": "female",
        "default_for": ["es"],
    }  # fmt: skip
    assert told["aliases"]["kokoro"]["onyx"] == {"es": "em_alex", "en": "am_onyx"}
    await speech.speech(WORDS)
    figures = (await speech.http.get("/metrics")).text
    assert 'capibara6_tts_requests_total{engine="kokoro",outcome="ok"}' in figures
    assert 'capibara6_tts_real_time_factor_count{engine="kokoro"}' in figures
    ready = await speech.http.get("/health/ready")
    assert ready.status_code == 200 and ready.json()["checks"]["kokoro"] == "ready"


async def test_it_is_ready_when_its_default_engine_is(tmp_path: Path) -> None:
    async with served(tmp_path, tts_default_engine="coqui") as speech:
        ready = await speech.http.get("/health/ready")
        assert ready.status_code == 503 and "model.pth" in ready.json()["checks"]["coqui"]
        assert (await speech.speech("uno")).json()["error"]["code"] == "engine_not_installed"
        assert (await speech.speech("uno", model="kokoro")).status_code == 200


async def test_an_engine_whose_voices_are_not_known_is_started_before_they_are_asked_of_it(tmp_path: Path) -> None:
    engines = FakeEngines()
    piper = engines.speakers["piper"]
    known, piper.info = piper.info, replace(piper.info, voices=(), sample_rate=0)
    engines.on_start = lambda: setattr(piper, "info", replace(known, state="ready"))
    async with served(tmp_path, engines) as speech:
        first = await speech.speech("en: one two", model="piper", response_format="wav")
        assert (first.status_code, first.headers["x-capibara6-voice"]) == (200, "joe")
        assert len(first.content) - 44 == pytest.approx(24_000, abs=4)
        again = await speech.speech("en: one two", model="piper", response_format="wav")
        assert again.headers["x-capibara6-cache"] == "hit"
        wrong = await speech.speech("en: one", model="piper", voice="nobody")
        assert wrong.json()["error"]["code"] == "unknown_voice"


@pytest.mark.parametrize(
    ("sent", "status", "param"),
    [
        ({}, 422, "input"),
        ({"input": 7}, 422, "input"),
        ({"input": "hola", "voice": {"name": "x"}}, 422, "voice"),
        ({"input": "hola", "speed": "fast"}, 422, "speed"),
        ({"input": "hola", "model": "moon"}, 400, "model"),
        ({"input": "🙂 🙃"}, 400, "input"),
    ],
)
async def test_wrong_bodies_are_told_in_openais_shape(
    speech: Served, sent: dict[str, Any], status: int, param: str
) -> None:
    reply = await speech.http.post("/v1/audio/speech", json=sent)
    assert (reply.status_code, reply.json()["error"]["param"]) == (status, param)


async def test_a_body_that_is_no_json_is_told_in_openais_shape(speech: Served) -> None:
    reply = await speech.http.post("/v1/audio/speech", content=b"{", headers={"content-type": "application/json"})
    assert reply.status_code == 400 and reply.json()["error"]["code"] == "malformed_json"


async def test_an_error_event_is_raised_by_openais_own_client(speech: Served, openai: AsyncOpenAI) -> None:
    body = {"input": "uno dos crash", "model": "kokoro", "stream_format": "sse"}
    stream = await openai.post("/audio/speech", cast_to=object, body=body, stream=True, stream_cls=AsyncStream[object])
    with pytest.raises(APIError, match="failed while it spoke"):
        async for _ in stream:
            pass
