"""When a conversation is summarised, what of it, and what is kept."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from db.records import History, MessageRecord
from flows.prompting import PromptFolder
from flows.steps import PlainSteps
from flows.summary import SummaryLimits, SummaryRequest, SummaryWork, fitting, is_due, older_part
from flows.turn import Transcript
from tests.unit.flows.turn_fakes import Model, Sink, token
from wire.context import RequestContext
from wire.errors import UpstreamFailed
from wire.ids import uuid7
from wire.principals import LOCAL
from wire.trace import TraceContext

LIMITS = SummaryLimits(context_share=0.5, kept_messages=2, timeout_seconds=5)


def said(*texts: str) -> list[MessageRecord]:
    """Questions and answers in turn, at positions 1, 2, 3, …"""
    roles = ("user", "assistant")
    return [
        MessageRecord(uuid.uuid4(), roles[at % 2], text, None, True, None, datetime.now(UTC), at + 1)  # type: ignore[arg-type]
        for at, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("read", "context", "dropped", "due"),
    [(51, 100, 0, True), (50, 100, 0, False), (0, 100, 3, True), (900, 0, 0, False)],
)
def test_a_turn_that_came_near_its_models_end_is_due(read: int, context: int, dropped: int, due: bool) -> None:
    transcript = Transcript(context_tokens=context, read_tokens=read, dropped=dropped)
    assert is_due(transcript, LIMITS) is due


@pytest.mark.parametrize(("count", "left"), [(0, 0), (2, 0), (3, 0), (4, 2), (5, 2), (6, 4)])
def test_the_newest_stay_and_no_question_is_parted_from_its_answer(count: int, left: int) -> None:
    assert len(older_part(said(*"abcdef"[:count]), 2)) == left


@pytest.mark.parametrize(
    ("counts", "room", "fits"), [([10, 10], 100, 2), ([10, 10], 20, 1), ([500], 20, 1), ([], 5, 0)]
)
def test_as_many_of_the_oldest_as_fit_are_summarised_at_once(counts: list[int], room: int, fits: int) -> None:
    assert fitting(counts, room) == fits


class Kept(list[tuple[str, int]]):
    async def keep(self, summary: str, until: int) -> bool:
        self.append((summary, until))
        return True


def work(model: Any, kept: Kept, messages: list[MessageRecord], summary: str | None = None) -> SummaryWork:
    context = RequestContext(uuid7(), TraceContext.new(), LOCAL)
    request = SummaryRequest(context, "ana", uuid.uuid4(), "m", History(summary, messages))
    return SummaryWork(request, model, PromptFolder(), LIMITS, kept.keep)


async def test_the_older_part_and_the_earlier_summary_become_the_new_one() -> None:
    model, kept = Model([token("They spoke "), token("of boats.")]), Kept()
    made = work(
        model, kept, said("my boat is blue", "nice", "how fast is it", "ten knots", "thanks", "bye"), "Ana sails."
    )
    assert (await made.perform(Sink(), PlainSteps(), lambda: None)).status == "completed"
    assert kept == [("They spoke of boats.", 4)]
    asked = model.calls[0]["messages"][0]["content"]
    assert "(Ana sails.)" in asked and "my boat is blue" in asked and "bye" not in asked
    assert [step.name for step in made.account.steps] == ["model_call", "keep_summary"]


async def test_what_does_not_fit_at_once_is_left_for_the_next_time() -> None:
    model, kept = Model([token("short")], context_tokens=256 + 128 + 300), Kept()
    made = work(model, kept, said("x" * 100, "y" * 100, "z" * 100, "w" * 100, "thanks", "bye"))
    await made.perform(Sink(), PlainSteps(), lambda: None)
    assert kept == [("short", 2)]


async def test_a_model_that_fails_or_says_nothing_leaves_everything_as_it_was() -> None:
    kept = Kept()
    failed = work(Model([UpstreamFailed("died")]), kept, said(*"abcdef"))
    assert (await failed.perform(Sink(), PlainSteps(), lambda: None)).status == "failed"
    silent = work(Model([token("  ")]), kept, said(*"abcdef"))
    assert (await silent.perform(Sink(), PlainSteps(), lambda: None)).status == "completed"
    assert kept == []
