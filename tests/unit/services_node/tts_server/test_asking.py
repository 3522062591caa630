"""What a request asks for: each field checked, by itself and against the engine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from services_node.tts_server.asking import Order, engine_named, ordered, wish_of
from services_node.tts_server.engines.contract import Crashed, Damaged, EngineInfo, Missing, Refused
from services_node.tts_server.errors import of_engine
from services_node.tts_server.schemas import OlderRequest, SpeechRequest
from tests.unit.services_node.tts_server.fakes import COQUI, KOKORO, PIPER, read
from wire.errors import ApiError

MOST_CHARS = 100


def asked(**fields: Any) -> SpeechRequest:
    return SpeechRequest.model_validate({"input": "hola", **fields})


async def order(engine: EngineInfo = KOKORO, **fields: Any) -> Order:
    return await ordered(wish_of(asked(**fields), MOST_CHARS), engine, read, "es")


async def refused(engine: EngineInfo = KOKORO, **fields: Any) -> tuple[int, str, str | None]:
    with pytest.raises(ApiError) as told:
        await order(engine, **fields)
    return told.value.status, told.value.code, told.value.param


def test_what_is_left_out_or_null_is_openais_default() -> None:
    nulls = dict.fromkeys(("model", "voice", "response_format", "speed", "stream_format", "language", "normalize"))
    for fields in ({}, nulls):
        wish = wish_of(asked(**fields), MOST_CHARS)
        assert (wish.engine, wish.voice, wish.format.name, wish.speed) == ("", None, "mp3", 1.0)
        assert (wish.language, wish.normalise, wish.in_events) == (None, True, False)


@pytest.mark.parametrize("model", ["tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15", ""])
def test_openais_models_are_the_default_engine(model: str) -> None:
    wish = wish_of(asked(model=model), MOST_CHARS)
    assert engine_named(wish.engine, (COQUI, KOKORO), "kokoro") is KOKORO


def test_an_unknown_engine_is_told_with_those_there_are() -> None:
    with pytest.raises(ApiError, match=r"'moon'.*: kokoro, piper") as told:
        engine_named("moon", (KOKORO, PIPER), "kokoro")
    assert (told.value.status, told.value.code, told.value.param) == (400, "unknown_model", "model")


@pytest.mark.parametrize("voice", ["em_alex", {"id": "em_alex"}])
def test_a_voice_is_a_name_or_openais_object(voice: Any) -> None:
    assert asked(voice=voice).voice == "em_alex"


@pytest.mark.parametrize("voice", [7, ["em_alex"], {"name": "em_alex"}, {"id": 7}])
def test_anything_else_is_no_voice(voice: Any) -> None:
    with pytest.raises(ValidationError, match="it is a name"):
        asked(voice=voice)


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"input": ""}, "nothing_to_say", "input"),
        ({"input": " \n"}, "nothing_to_say", "input"),
        ({"input": "🙂🙃"}, "nothing_to_say", "input"),
        ({"input": "x" * 101}, "input_too_long", "input"),
        ({"response_format": "ogg"}, "unknown_format", "response_format"),
        ({"stream_format": "json"}, "unknown_stream_format", "stream_format"),
        ({"speed": 0.2}, "speed_out_of_range", "speed"),
        ({"speed": 4.1}, "speed_out_of_range", "speed"),
        ({"speed": float("nan")}, "speed_out_of_range", "speed"),
        ({"speed": 3}, "speed_unsupported", "speed"),
        ({"language": "fr"}, "unknown_language", "language"),
        ({"voice": "nobody"}, "unknown_voice", "voice"),
    ],
)
async def test_what_is_not_there_is_a_400_that_names_the_field(fields: dict[str, Any], code: str, param: str) -> None:
    assert await refused(**fields) == (400, code, param)


def test_half_a_character_is_left_out() -> None:
    assert wish_of(asked(input="hola \ud83d"), MOST_CHARS).text == "hola "
    with pytest.raises(ApiError, match="nothing that can be spoken"):
        wish_of(asked(input="\ud83d"), MOST_CHARS)


async def test_a_limit_is_named() -> None:
    with pytest.raises(ApiError, match=r"101 characters, at most 100 .*CAPIBARA6_TTS_INPUT_CHARS"):
        await order(input="x" * 101)


async def test_an_engine_of_one_language_does_not_read_another() -> None:
    assert await refused(PIPER, language="es") == (400, "unknown_language", "language")
    assert [one.language for one in (await order(PIPER, input="hello")).sentences] == ["en"]
    spanish = replace(PIPER, languages=("es",))
    assert await refused(spanish, input="en: hello") == (400, "language_not_spoken", "input")


@pytest.mark.parametrize(
    ("tag", "language"), [("es", "es"), ("es-419", "es"), ("EN_us", "en"), ("auto", None), ("e", "es"), ("b", "en")]
)
async def test_a_language_is_named_by_any_of_its_tags(tag: str, language: str | None) -> None:
    made = await order(language=tag)
    assert made.wish.language == language and made.sentences[0].language == (language or "es")
    assert asked(lang_code=tag).language == tag


async def test_the_voice_is_that_of_most_of_the_text_and_a_named_one_tells_the_language_of_what_tells_none() -> None:
    mixed = await order(input="sí\nen: and now something completely different")
    assert mixed.voice.label == "af_heart"
    assert [one.language for one in (await order(voice="af_heart")).sentences] == ["en"]
    assert [one.language for one in (await order(voice="alloy")).sentences] == ["es"]


async def test_audio_is_kept_under_the_voice_that_speaks() -> None:
    assert (await order()).key == (await order(voice="ef_dora")).key == (await order(voice="sofia(2)")).key
    assert (await order()).key != (await order(voice="em_alex")).key


def test_older_clients_name_the_voice_either_way() -> None:
    assert OlderRequest.model_validate({"text": "a", "voice": "ana"}).voice_id == "ana"
    assert OlderRequest.model_validate({"text": "a", "voice_id": "ana", "language": None}).language == "es"


def test_what_an_engine_raises_is_told_with_what_to_do() -> None:
    missing = of_engine(Missing("there are no weights.", "put them into var/weights/tts/coqui"), "coqui")
    assert (missing.status, missing.code) == (404, "engine_not_installed")
    assert missing.detail == "coqui is not installed: there are no weights: put them into var/weights/tts/coqui"
    damaged = of_engine(Damaged("ana.bin is not a voice", "remove it"), "kokoro")
    assert (damaged.status, damaged.code) == (502, "engine_damaged")
    assert damaged.detail == "kokoro cannot be used: ana.bin is not a voice: remove it"
    assert (of_engine(Refused("no sound"), "piper").status, of_engine(Crashed("it ended"), "piper").status) == (
        400,
        502,
    )
