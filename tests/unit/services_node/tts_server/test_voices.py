"""Which voice speaks: names, mixes, the language's own; clear words for what there is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services_node.tts_server.engines.contract import EngineInfo, Voice
from services_node.tts_server.voices import (
    ALIASES,
    OPENAI,
    VoiceChoice,
    choose_voice,
    default_languages,
    language_of_voice,
    majority,
    openai_names,
    parse_mix,
)
from tests.unit.services_node.tts_server.fakes import KOKORO, PIPER
from wire.errors import ApiError

ODD = EngineInfo("coqui", "ready", 22_050, voices=(Voice("Claribel Dervla", "en"), Voice("a+b (live)", "es")))


def chosen(asked: str | None, language: str = "es", engine: EngineInfo = KOKORO) -> str:
    return choose_voice(asked, engine, language).label


def refused(asked: str, engine: EngineInfo = KOKORO) -> ApiError:
    with pytest.raises(ApiError) as told:
        choose_voice(asked, engine, "es")
    assert told.value.status == 400 and told.value.param == "voice"
    return told.value


@pytest.mark.parametrize("asked", [None, "", "  ", "default", "kyutai-default"])
def test_without_a_name_each_language_has_its_own(asked: str | None) -> None:
    assert (chosen(asked, "es"), chosen(asked, "en")) == ("ef_dora", "af_heart")


def test_an_engine_without_those_has_one_of_the_language_or_the_one_it_has() -> None:
    other = replace(KOKORO, voices=(Voice("x", "en"), Voice("y", "es-419")))
    assert (chosen(None, "es", other), chosen(None, "en", other)) == ("y", "x")
    assert chosen("sofia", "es", PIPER) == "joe"


def test_a_voice_of_the_engine_speaks_any_language_it_is_asked_for() -> None:
    assert chosen("af_heart", "es") == "af_heart"
    assert chosen("EF_Dora", "en") == "ef_dora"


@pytest.mark.parametrize(
    ("asked", "spanish", "english"),
    [("alloy", "ef_dora", "af_alloy"), ("echo", "em_alex", "am_echo"), ("Onyx", "em_alex", "am_onyx")],
)
def test_openais_names_are_voices_of_that_gender_in_the_language(asked: str, spanish: str, english: str) -> None:
    assert (chosen(asked, "es"), chosen(asked, "en")) == (spanish, english)


def test_every_name_of_openai_has_a_voice_of_kokoros_own_in_english() -> None:
    wanted = [alias.wanted[0] for alias in OPENAI.values()]
    assert len(set(wanted)) == len(OPENAI) == 13
    for alias in OPENAI.values():
        assert alias.wanted[0][1] == {"female": "f", "male": "m"}[alias.gender or ""]


@pytest.mark.parametrize(
    ("asked", "voice"),
    [("sofia", "ef_dora"), ("ana", "ef_dora"), ("carlos", "em_alex"), ("kyutai-ljspeech", "af_heart")],
)
def test_the_teams_names_keep_their_language(asked: str, voice: str) -> None:
    assert chosen(asked, "en") == chosen(asked, "es") == voice


def test_a_mix_is_shared_by_weight() -> None:
    assert choose_voice("ef_dora(2) + em_alex(1)", KOKORO, "es").shares == (("ef_dora", 2 / 3), ("em_alex", 1 / 3))
    assert chosen("af_heart+am_echo") == "af_heart(0.5)+am_echo(0.5)"
    assert chosen("alloy(3)+echo") == "ef_dora(0.75)+em_alex(0.25)"


def test_parts_of_the_same_voice_are_one() -> None:
    assert choose_voice("ef_dora(1)+sofia(3)", KOKORO, "es").shares == (("ef_dora", 1.0),)
    assert choose_voice("joe(2)+joe", PIPER, "en").shares == (("joe", 1.0),)


def test_asking_for_what_a_reply_named_gives_the_same_voice() -> None:
    for asked in ("ef_dora(3)+em_alex(1)", "af_heart(1000)+ef_dora(1)"):
        again, first = (dict(choose_voice(one, KOKORO, "es").shares) for one in (chosen(asked), asked))
        assert again == pytest.approx(first, rel=1e-4)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("ef_dora+", "a part has no name"),
        ("+ef_dora", "a part has no name"),
        ("(2)", "a part has no name"),
        ("ef_dora(0)", "no number above 0"),
        ("ef_dora(-1)", "no number above 0"),
        ("ef_dora(nan)", "no number above 0"),
        ("ef_dora(inf)", "no number above 0"),
        ("ef_dora()", "no number above 0"),
        ("ef_dora(two)", "no number above 0"),
        ("ef_dora(2", "neither a name nor"),
        ("ef_dora(2)x", "neither a name nor"),
        ("+".join(["ef_dora"] * 9), "at most 8"),
        ("x" * 301, "longer than 300"),
    ],
)
def test_a_malformed_mix_says_what_is_wrong(asked: str, said: str) -> None:
    error = refused(asked)
    assert error.code == "malformed_voice" and said in error.detail and len(error.detail) < 300


def test_an_unknown_voice_is_told_with_those_there_are() -> None:
    error = refused("ef_dora+nobody")
    assert error.code == "unknown_voice" and "'nobody'" in error.detail and "em_alex" in error.detail


def test_an_engine_that_cannot_mix_says_so() -> None:
    assert refused("a+b (live)+Claribel Dervla", ODD).code in ("malformed_voice", "unknown_voice")
    two = replace(PIPER, voices=(*PIPER.voices, Voice("amy", "en")))
    assert refused("joe+amy", two).code == "voices_not_mixed"


def test_a_voice_whose_name_looks_like_a_mix_is_found_by_it() -> None:
    assert chosen("a+b (live)", "en", ODD) == "a+b (live)"
    assert chosen("Claribel Dervla", "en", ODD) == "Claribel Dervla"


def test_a_label_fits_a_header() -> None:
    assert VoiceChoice((("Peña\n", 1.0),)).header == "Pe%C3%B1a%0A"
    assert VoiceChoice((("a", 0.5), ("b", 0.5))).header == "a(0.5)+b(0.5)"


def test_what_a_named_voice_says_of_the_language() -> None:
    assert language_of_voice("ef_dora(1)+af_heart(2)", KOKORO.voices) == "en"
    assert language_of_voice("carlos", KOKORO.voices) == "es"
    assert [language_of_voice(name, KOKORO.voices) for name in (None, "alloy", "nobody", "a(b")] == [None] * 4


def test_one_voice_reads_a_mixed_text_that_of_most_of_it() -> None:
    assert majority([("es", 10), ("en", 30), ("es", 15)]) == "en"
    assert majority([("es", 10), ("en", 10)]) == "es"


def test_parts_are_read_as_they_are_written() -> None:
    assert parse_mix(" a (2) + b(0.5)+c") == (("a", 2.0), ("b", 0.5), ("c", 1.0))


def test_names_are_told_with_the_voices_that_answer() -> None:
    told = openai_names(KOKORO)
    assert set(told) == set(ALIASES) and told["nova"]["es"] == "ef_dora" and told["carlos"]["en"] == "em_alex"
    assert openai_names(replace(KOKORO, voices=())) == {}
    assert [default_languages(voice, KOKORO) for voice in KOKORO.voices[:1]] == [["en"]]
