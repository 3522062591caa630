"""An answer that is spoken while it is written: order, falling behind, failing alone, ending together."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

import pytest

from flows.audio import wav_head
from flows.chat import Assistance, ChatWork
from flows.speaking import Speaking, SpeakLimits
from flows.steps import PlainSteps
from flows.turn import ChatMessage, Spoken, Token, TurnRequest
from flows.voice import VoiceWish
from flows.work import Performed
from tests.unit.flows.turn_fakes import LIMITS, Model, Prompts, Sink, Tools, at_once, token
from tests.unit.flows.voice_fakes import Kept, Voice
from wire.context import RequestContext
from wire.errors import TooLarge, Unavailable
from wire.ids import uuid7
from wire.principals import LOCAL
from wire.trace import TraceContext

CHUNK = b"\x01\x00" * 2400 + b"\x02\x00" * 2400  # what the fake says for a text


class House:
    """A spoken turn whose parts are fakes."""

    def __init__(self, *pieces: Any, kept: Kept | None = None, **limits: Any) -> None:
        self.voice, self.kept, self.sink = Voice(), kept or Kept(), Sink()
        speaking = Speaking(
            self.voice, self.kept, replace(SpeakLimits(answer_chars=1000, wait_seconds=30, file_bytes=10**7), **limits)
        )
        script = [token(piece) if isinstance(piece, str) else piece for piece in pieces]
        box = Assistance(Model(script), Tools(), Prompts(), LIMITS, speaking)
        request = TurnRequest(
            RequestContext(uuid7(), TraceContext.new(), LOCAL), uuid.uuid4(), None, (ChatMessage("user", "hola"),), {},
            60, speak=VoiceWish(format="pcm"),
        )  # fmt: skip
        self.work = ChatWork(request, box, at_once)

    async def run(self) -> Performed:
        return await self.work.perform(self.sink, PlainSteps(), lambda: None)

    @property
    def spoken(self) -> list[Spoken]:
        return [event for event in self.sink.events if isinstance(event, Spoken)]

    @property
    def tokens(self) -> str:
        return "".join(event.text for event in self.sink.events if isinstance(event, Token))


async def test_sentences_are_spoken_in_order_and_the_whole_is_kept() -> None:
    house = House("Uno. Do", "s. Y ", "tres.")
    assert (await house.run()).status == "completed"
    answer = house.work.account.speech
    assert house.voice.texts == ["Uno.", "Dos.", "Y tres."]
    assert [event.sequence for event in house.spoken] == [1, 2, 3, 4, 5, 6]
    assert [event.text for event in house.spoken] == ["Uno.", "", "Dos.", "", "Y tres.", ""]
    assert b"".join(event.audio for event in house.spoken) == CHUNK * 3
    assert answer is not None and answer.status == "completed" and answer.seconds == 0.6 and not answer.cut
    assert house.kept.files == {"answer.wav": wav_head(len(CHUNK) * 3) + CHUNK * 3}
    [step] = [step for step in house.work.account.steps if step.name == "speak"]
    assert step.status == "completed" and step.detail is not None and step.detail["sentences"] == 3


async def test_tokens_do_not_wait_for_the_speech() -> None:
    house = House("Esto waits. ", "Y sigue. ", "Y acaba.")
    running = asyncio.create_task(house.run())
    await house.voice.began.wait()
    while not house.work.account.answered:  # noqa: ASYNC110 - the text is told to its end meanwhile
        await asyncio.sleep(0)
    assert house.tokens == "Esto waits. Y sigue. Y acaba." and not house.spoken and not running.done()
    house.voice.go.set()
    assert (await running).status == "completed"
    assert len(house.spoken) == 6


@pytest.mark.parametrize(
    ("text", "code"), [("Va bien. Se breaks. No.", "speech_broken"), ("Es unknown.", "voice_not_found")]
)
async def test_speech_that_fails_costs_nothing_of_the_answer(text: str, code: str) -> None:
    house = House(text)
    assert (await house.run()).status == "completed"
    account = house.work.account
    assert account.text == text and account.speech is not None and not house.kept.files
    assert account.speech.status == "failed" and account.speech.error is not None
    assert account.speech.error.code == code and account.mark == "CompletedWithoutSpeech"
    [step] = [step for step in account.steps if step.name == "speak"]
    assert (step.status, step.error_code) == ("failed", code)


async def test_a_file_that_cannot_be_kept_is_a_failed_speech() -> None:
    house = House("Hola.", kept=Kept(TooLarge("full", code="owner_files_full")))
    assert (await house.run()).status == "completed"
    speech = house.work.account.speech
    assert speech is not None and speech.error is not None and speech.error.code == "owner_files_full"


async def test_a_busy_server_is_asked_again_and_what_cannot_be_said_is_left_out() -> None:
    house = House("Algo está busy. Esto otro es mute. Y fin.")
    await house.run()
    speech = house.work.account.speech
    assert house.voice.texts == ["Algo está busy.", "Algo está busy.", "Esto otro es mute.", "Y fin."]
    assert speech is not None and (speech.status, speech.seconds) == ("completed", 0.4)


@pytest.mark.parametrize("pieces", [(), ("mute.",)])
async def test_an_answer_without_anything_to_say_is_not_a_failure(pieces: tuple[str, ...]) -> None:
    house = House(*pieces)
    await house.run()
    speech = house.work.account.speech
    assert speech is not None and speech.status == "empty" and not house.kept.files
    assert house.work.account.mark is None


async def test_a_long_answer_is_spoken_up_to_a_whole_sentence() -> None:
    house = House("Frase primera. " * 4, answer_chars=40)
    await house.run()
    speech = house.work.account.speech
    assert house.voice.texts == ["Frase primera."] * 2
    assert speech is not None and speech.cut and speech.status == "completed"


async def test_speech_that_takes_too_long_is_given_up_and_the_answer_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.speaking.MARGIN_SECONDS", 0.01)
    house = House("Esto waits.", wait_seconds=0.01)
    assert (await house.run()).status == "completed"
    speech = house.work.account.speech
    assert speech is not None and speech.error is not None and speech.error.code == "step_timeout"
    [step] = [step for step in house.work.account.steps if step.name == "speak"]
    assert (step.status, step.error_code) == ("failed", "step_timeout") and not house.voice.open


async def test_a_turn_that_is_cancelled_stops_its_speech() -> None:
    house = House("Esto waits. Y", None)
    running = asyncio.create_task(house.run())
    await house.voice.began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not house.voice.open and not house.kept.files and not house.work.account.answered
    [step] = [step for step in house.work.account.steps if step.name == "speak"]
    assert step.status == "cancelled"


async def test_a_turn_whose_model_breaks_stops_its_speech() -> None:
    house = House("Esto waits. Y", Unavailable("gone", code="gone"))
    assert (await house.run()).status == "failed"
    assert not house.voice.open and house.work.account.speech is None
