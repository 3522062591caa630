"""A text spoken part by part into one file."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any, get_args

import pytest

from flows.audio import AudioFormat, Track
from flows.speech import Narrator, SpeechLimits, SpeechRequest, SpeechWork
from flows.speech_asked import Asked, read_asked, written_asked
from flows.steps import PlainSteps
from flows.voice import VoiceWish
from flows.work import Performed
from tests.unit.flows.turn_fakes import Sink, at_once
from tests.unit.flows.voice_fakes import SAMPLES, Kept, Voice
from wire.context import RequestContext
from wire.errors import TooLarge
from wire.ids import uuid7
from wire.principals import LOCAL
from wire.trace import TraceContext

LIMITS = SpeechLimits(part_chars=30, part_seconds=5, part_retries=1, run_seconds=60, file_bytes=10**8)
TEXT = "Uno es esto y más.\n\nDos es aquello y más.\n\nTres."  # two parts


def played(data: bytes) -> float:
    """Seconds that a player hears."""
    import av

    with av.open(io.BytesIO(data)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def work_for(text: str, kept: Kept, voice: Voice, form: AudioFormat = "wav", **more: Any) -> SpeechWork:
    context = RequestContext(uuid7(), TraceContext.new(), LOCAL)
    request = replace(SpeechRequest(context, "ana", text, VoiceWish(format=form)), **more)
    return SpeechWork(request, Narrator(voice, kept, LIMITS), at_once)


async def run(work: SpeechWork) -> Performed:
    return await work.perform(Sink(), PlainSteps(), lambda: None)  # type: ignore[arg-type]


async def test_a_file_too_large_is_told_before_the_rest_is_spoken() -> None:
    kept, voice = Kept(), Voice()
    request = replace(work_for(TEXT, kept, voice)._request)
    work = SpeechWork(request, Narrator(voice, kept, replace(LIMITS, file_bytes=100)), at_once)
    ended = await run(work)
    assert ended.error is not None and ended.error.code == "file_too_large"
    assert len(voice.texts) == 1 and not kept.files


@pytest.mark.parametrize("form", get_args(AudioFormat))
async def test_parts_become_one_file_that_a_player_takes_whole(form: AudioFormat) -> None:
    kept, voice = Kept(), Voice()
    work = work_for(TEXT, kept, voice, form)
    assert (await run(work)).status == "completed"
    assert voice.texts == ["Uno es esto y más.", "Dos es aquello y más.\n\nTres."]
    [data] = kept.files.values()
    assert played(data) == pytest.approx(4 * SAMPLES / 24000, abs=0.1)
    assert [(step.name, step.status) for step in work.account.steps] == [
        ("part-1", "completed"),
        ("part-2", "completed"),
    ]
    assert (work.account.done, work.account.of, work.account.seconds) == (2, 2, 0.4)


@pytest.mark.parametrize("form", get_args(AudioFormat))
def test_pieces_of_a_track_are_its_file_and_play_together(form: AudioFormat) -> None:
    track, heard = Track(form), list[bytes]()
    for _ in range(2):
        heard += [track.feed(b"\x01\x00" * SAMPLES + b"\x01"), track.feed(b"\x00"), track.end_sentence()]
    heard.append(track.finish())
    assert played(track.whole()) == pytest.approx(2 * SAMPLES / 24000, abs=0.1)
    if form == "wav":
        assert [played(piece) for piece in heard if piece] == [pytest.approx(SAMPLES / 24000, abs=0.001)] * 2
    elif form != "pcm":
        assert b"".join(heard) == track.whole()


async def test_a_part_that_breaks_is_spoken_again_and_heard_once() -> None:
    class Once(Voice):
        async def _chunks(self, text: str) -> Any:
            once = text.replace("breaks", "") if len(self.texts) > 1 else text
            async for chunk in super()._chunks(once):
                yield chunk

    kept, voice = Kept(), Once()
    assert (await run(work_for("Esto breaks.", kept, voice))).status == "completed"
    assert len(voice.texts) == 2 and played(kept.files["speech.wav"]) == pytest.approx(0.2)


async def test_of_a_text_that_was_not_spoken_to_its_end_nothing_is_kept() -> None:
    kept = Kept()
    work = work_for("Todo va muy bien por ahora.\n\nEsto breaks.", kept, Voice())
    performed = await run(work)
    assert performed.error is not None and performed.error.code == "speech_broken" and not kept.files
    assert [step.status for step in work.account.steps] == ["completed", "failed"]


@pytest.mark.parametrize("text", ["mute.", " \n "])
async def test_a_text_without_anything_to_say_fails_and_says_so(text: str) -> None:
    performed = await run(work_for(text, Kept(), Voice()))
    assert performed.error is not None and performed.error.code == "nothing_to_say"


async def test_captions_are_of_the_whole_and_not_of_the_part() -> None:
    kept = Kept()
    await run(work_for(TEXT, kept, Voice(), captions=True))
    told = json.loads(kept.files["captions.json"])
    assert [(word["word"], word["start"], word["end"]) for word in told["words"]] == [
        ("Uno", 0, 0.2),
        ("Dos", 0.2, 0.4),
    ]
    assert [segment["start"] for segment in told["segments"]] == [0, 0.2]


async def test_a_file_that_does_not_fit_fails_the_run() -> None:
    performed = await run(work_for(TEXT, Kept(TooLarge("full", code="owner_files_full")), Voice()))
    assert performed.error is not None and performed.error.code == "owner_files_full"


def test_what_was_asked_is_read_as_it_was_written() -> None:
    asked = Asked("¡Hola!", VoiceWish("ef_dora", "opus", "es", 1.5, "kokoro"), "carta", True, uuid7())
    assert read_asked(written_asked(asked)) == asked
