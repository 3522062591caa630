"""Sentences in order, one ahead and no more; pauses, words' times, deadlines; nothing left under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest

from services_node.tts_server.engines.contract import Crashed, Spoken, Utterance
from services_node.tts_server.speaking import CHARACTER_SECONDS, Manner, Piece, Sentence, Speech, Stopwatch
from tests.unit.services_node.tts_server.fakes import KOKORO, WORD_SECONDS, FakeSpeaker, Said
from wire.errors import ApiError

THREE = (Said("uno dos"), Said("tres"), Said("cuatro cinco seis"))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def speech(
    speaker: FakeSpeaker, sentences: Sequence[Sentence], clock: Clock | None = None, silence: float = 5
) -> Speech:
    return Speech(speaker, sentences, Manner((("ef_dora", 1.0),), 1.25), silence, clock or Clock())


async def spoken(made: Speech) -> list[Piece]:
    return [piece async for piece in made.pieces()]


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_words_are_told_with_seconds_from_the_beginning_of_all() -> None:
    pieces = await spoken(speech(FakeSpeaker(KOKORO), THREE))
    words = [(word.text, word.start, word.end) for piece in pieces for word in piece.words]
    assert words == [
        (word, index * WORD_SECONDS, (index + 1) * WORD_SECONDS)
        for index, word in enumerate(["uno", "dos", "tres", "cuatro", "cinco", "seis"])
    ]


async def test_a_pause_is_silence_and_later_words_come_later() -> None:
    sentences = (Said("uno", pause_seconds=0.5), Said("dos", source="2"))
    made = speech(FakeSpeaker(KOKORO), sentences)
    pieces = await spoken(made)
    assert made.seconds == 1.0
    assert pieces[1].pcm == bytes(2 * 12_000) and pieces[1].segment is not None
    assert [(word.start, word.end) for piece in pieces for word in piece.words] == [(0, 0.25), (0.75, 1.0)]
    [last] = [piece.segment for piece in pieces if piece.segment and piece.segment.spoken == "dos"]
    assert (last.text, last.start, last.end) == ("2", 0.75, 1.0)


async def test_a_sentence_that_is_only_a_pause_is_not_spoken() -> None:
    speaker = FakeSpeaker(KOKORO)
    made = speech(speaker, (Said("", pause_seconds=1), Said("uno"), Said(" ", pause_seconds=1)))
    await spoken(made)
    assert made.seconds == 2.25 and [one.text for one in speaker.heard] == ["uno"]


async def test_the_next_sentence_is_begun_with_the_first_piece_of_this_one_and_no_further_one_is() -> None:
    speaker = FakeSpeaker(KOKORO)
    async with aclosing(speech(speaker, THREE).pieces()) as pieces:
        assert not speaker.heard
        await anext(pieces)
        await settled()
        assert [one.text for one in speaker.heard] == ["uno dos", "tres"]  # the listener has fetched one word
        await anext(pieces)
        await anext(pieces)  # the end of the first
        await settled()
        assert len(speaker.heard) == 2
        await anext(pieces)
        await settled()
        assert len(speaker.heard) == 3


async def test_only_the_first_is_in_a_hurry_and_each_is_due_when_what_is_before_it_has_been_heard() -> None:
    speaker, clock = FakeSpeaker(KOKORO), Clock()
    async for _ in speech(speaker, THREE, clock).pieces():
        clock.now += 10  # however slowly it is fetched
    first, second, third = speaker.heard
    assert (first.deadline, first.hurry) == (100, True)
    # Heard from 100 on. What is before it is not known to its end when it is begun: its length is told by its letters.
    expected = CHARACTER_SECONDS * len(THREE[0].text) / 1.25 + THREE[0].pause_seconds
    assert (second.deadline, second.hurry) == (pytest.approx(100 + expected), False)
    assert third.deadline > second.deadline and not third.hurry
    assert {one.speed for one in speaker.heard} == {1.25} and {one.voice for one in speaker.heard} == {
        (("ef_dora", 1),)
    }


async def test_closing_it_stops_what_is_spoken_and_what_is_ahead() -> None:
    speaker = FakeSpeaker(KOKORO)
    pieces = speech(speaker, (Said("uno hang"), Said("dos hang"), THREE[0])).pieces()
    await anext(pieces)
    await settled()
    assert speaker.open == 2
    await pieces.aclose()
    assert speaker.open == 0


async def test_cancelling_the_listener_stops_it() -> None:
    speaker = FakeSpeaker(KOKORO)
    speaker.only(0)
    listening = asyncio.create_task(spoken(speech(speaker, THREE)))
    await settled()
    assert speaker.open == 1
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    assert speaker.open == 0


async def test_a_crash_is_raised_after_what_was_said_before_it() -> None:
    speaker, said = FakeSpeaker(KOKORO), []
    with pytest.raises(Crashed):
        async for piece in speech(speaker, (Said("uno"), Said("dos crash"))).pieces():
            said += [word.text for word in piece.words]
    assert said == ["uno", "dos"] and speaker.open == 0


async def test_a_crash_ahead_waits_until_its_sentence_is_heard() -> None:
    speaker, said = FakeSpeaker(KOKORO), []
    with pytest.raises(Crashed):
        async for piece in speech(speaker, (Said("uno dos tres"), Said("crash"))).pieces():
            await settled()
            said += [word.text for word in piece.words]
    assert said == ["uno", "dos", "tres"] and speaker.open == 0


async def test_an_engine_that_gives_nothing_is_given_up() -> None:
    speaker = FakeSpeaker(KOKORO)
    with pytest.raises(ApiError) as told:
        await spoken(speech(speaker, (Said("uno hang"),), silence=0.001))
    assert told.value.code == "engine_silent" and speaker.open == 0


def test_a_stopwatch_counts_what_is_side_by_side_once() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    with watch:
        clock.now += 1
        with watch:
            clock.now += 1
        clock.now += 1
    clock.now += 5
    with watch:
        clock.now += 1
    assert watch.seconds == 4


async def test_work_that_is_cancelled_from_elsewhere_is_a_crash() -> None:
    class Cancelled(FakeSpeaker):
        async def speak(self, utterance: Utterance) -> AsyncIterator[Spoken]:
            async for piece in super().speak(utterance):
                yield piece
            raise asyncio.CancelledError

    said: list[str] = []
    with pytest.raises(Crashed):
        async for piece in speech(Cancelled(KOKORO), (Said("uno dos"),)).pieces():
            said += [word.text for word in piece.words]
    assert said == ["uno", "dos"]
