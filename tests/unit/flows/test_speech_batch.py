"""A document's own process, with its rows and its TTS server faked and without Prefect."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from db.batches import Begun
from flows import batch_runs, shown, speech_batch
from flows.batch_runs import RunClosed
from flows.errors import speech_failed
from flows.speech import Narrator, SpeechAccount
from flows.speech_asked import Asked
from flows.voice import VoiceWish
from tests.unit.flows.test_speech import LIMITS, TEXT
from tests.unit.flows.voice_fakes import Kept, Voice
from wire.context import current
from wire.errors import ApiError
from wire.ids import uuid7

BEGUN = Begun(uuid7(), "ana", "a" * 32, uuid7())


class Batch:
    def __init__(self, text: str = TEXT, *, closed_after: int = 99) -> None:
        self.text, self.closed_after = text, closed_after
        self.voice, self.kept = Voice(), Kept()
        self.narrator, self.limits = Narrator(self.voice, self.kept, LIMITS), LIMITS
        self.rows = SimpleNamespace(begin=self.begin)
        self.chat_url = "http://chat"
        self.noted: list[str] = []
        self.finished: tuple[SpeechAccount, ApiError | None] | None = None

    async def begin(self, run_id: uuid.UUID, flow_run_id: uuid.UUID | None) -> Begun:
        return BEGUN

    async def asked(self, begun: Begun) -> Asked:
        if not self.text:
            raise speech_failed("what was asked is not there any more.")
        return Asked(self.text, VoiceWish(format="wav"), "carta", False)

    async def note(self, begun: Begun, account: SpeechAccount) -> None:
        assert current().run_id == BEGUN.id
        self.noted.append(account.steps[-1].name)
        if len(self.noted) == self.closed_after:
            raise RunClosed

    async def finish(self, begun: Begun, account: SpeechAccount, error: ApiError | None) -> None:
        self.finished = account, error

    async def close(self) -> None: ...


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Batch], Any]:
    async def nothing(*_: Any) -> None: ...

    monkeypatch.setattr(speech_batch, "task", lambda **_: lambda function: function)
    monkeypatch.setattr(batch_runs, "load_secrets", lambda _: None)
    monkeypatch.setattr(speech_batch, "name_run", nothing)
    monkeypatch.setattr(speech_batch, "show_failure", nothing)
    monkeypatch.setattr(shown, "told", nothing)
    monkeypatch.setattr(batch_runs, "end_with_parent", lambda: None)

    async def run(batch: Batch) -> Any:
        monkeypatch.setattr(speech_batch, "SpeechBatch", lambda *_: batch)
        return await speech_batch.speech_batch.fn(str(BEGUN.id))

    return run


async def test_every_part_is_noted_when_it_is_spoken(run: Any) -> None:
    batch = Batch()
    state = await run(batch)
    assert state.is_completed() and batch.noted == ["part-1", "part-2"] and "carta.wav" in batch.kept.files
    assert batch.finished is not None and batch.finished[1] is None and batch.finished[0].seconds == 0.4


async def test_a_document_whose_row_was_closed_is_spoken_no_further(run: Any) -> None:
    batch = Batch(closed_after=1)
    state = await run(batch)
    assert state.is_cancelled() and batch.finished is None
    assert len(batch.voice.texts) == 1 and not batch.kept.files


@pytest.mark.parametrize(("text", "code"), [("Esto breaks.", "speech_broken"), ("mute.", "nothing_to_say"), ("", None)])
async def test_what_cannot_be_spoken_fails_with_its_reason(run: Any, text: str, code: str | None) -> None:
    batch = Batch(text)
    state = await run(batch)
    assert state.is_failed() and batch.finished is not None and batch.finished[1] is not None
    assert batch.finished[1].code == (code or "speech_failed") and not batch.kept.files
