"""What a run said, read by itself and taken back, on a real Postgres."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from sqlalchemy import select

from db.conversations import Conversations
from db.engine import Database
from db.forks import fork
from db.records import FinishedRun, NewMessage, NewRun, StepRecord
from db.runs import Runs
from db.tables import Message
from db.turns import Turns
from wire.ids import uuid7

CALLS = "client_tools"


async def turn(
    turns: Turns, question: str, conversation_id: uuid.UUID, *, new: bool, before: tuple[StepRecord, ...] = ()
) -> uuid.UUID:
    """A run that asked `question`, was answered, and asked its client for a call after the steps `before`."""
    now, run_id = datetime.now(UTC), uuid7()
    said = (NewMessage(uuid7(), "user", question),)
    await turns.begin(NewRun(run_id, "ana", "chat", conversation_id, new, "t", "0" * 32, "s", uuid7(), None, said))
    step = StepRecord(uuid7(), CALLS, "completed", now, now, kind="tool_call", detail={"messages": [question]})
    await turns.finish(
        FinishedRun(
            run_id, "ana", conversation_id, "completed", uuid7(), f"re: {question}", True, "m", "auto", 3, 4, 1.0, None,
            5.0, 6.0, None, None, now, now, (*before, step),
        )
    )  # fmt: skip
    return run_id


async def test_a_run_takes_back_what_it_said_and_what_summed_it_up(database: Database) -> None:
    turns, runs, conversations, place = Turns(database), Runs(database), Conversations(database), uuid7()
    first = await turn(turns, "uno", place, new=True)
    second = await turn(turns, "dos", place, new=False)
    assert [message.content for message in await turns.said(first, "ana")] == ["uno", "re: uno"]
    assert await turns.said(first, "eva") == [] and not await turns.forget(first, "eva", CALLS)
    until = (await turns.said(first, "ana"))[-1].position
    assert await conversations.summarise(place, "ana", "hablan de uno", until)

    assert not await turns.forget(first, "ana", CALLS)  # the other one's words are there still
    history = await turns.history(place, "ana", 10)
    assert history.summary is None and [message.content for message in history.messages] == ["dos", "re: dos"]
    assert (await runs.get(first, "ana")).conversation_id is None and await turns.said(first, "ana") == []
    assert [step.detail for step in await runs.steps(first)] == [None]
    assert [step.detail for step in await runs.steps(second)] == [{"messages": ["dos"]}]
    assert not await turns.forget(first, "ana", CALLS)  # a second time, there is nothing

    assert await turns.forget(second, "ana", CALLS)


async def test_a_removed_conversation_leaves_no_words_in_the_steps_of_its_runs(database: Database) -> None:
    turns, runs, place, other, now = Turns(database), Runs(database), uuid7(), uuid7(), datetime.now(UTC)
    failed = [
        StepRecord(
            uuid7(), "fetch_url", "failed", now, now, "tool_failed", "said", "tool_call", detail={"call_id": "c"}
        )
        for _ in range(2)
    ]
    run_id = await turn(turns, "uno", place, new=True, before=(failed[0],))
    apart = await turn(turns, "dos", other, new=True, before=(failed[1],))

    await Conversations(database).remove(place, "ana")
    assert [(step.name, step.detail, step.error_detail) for step in await runs.steps(run_id)] == [
        ("fetch_url", None, None),
        (CALLS, None, None),
    ]
    assert (await runs.steps(run_id))[0].error_code == "tool_failed"
    assert await runs.steps(apart) != [] and (await runs.steps(apart))[0].error_detail == "said"


async def test_a_run_that_ends_after_its_conversation_was_removed_leaves_no_words_either(database: Database) -> None:
    turns, runs, place, now, run_id = Turns(database), Runs(database), uuid7(), datetime.now(UTC), uuid7()
    said = (NewMessage(uuid7(), "user", "uno"),)
    await turns.begin(NewRun(run_id, "ana", "chat", place, True, "t", "0" * 32, "s", uuid7(), None, said))
    await Conversations(database).remove(place, "ana")
    step = StepRecord(
        uuid7(), CALLS, "failed", now, now, "tool_failed", "said", "tool_call", detail={"messages": ["uno"]}
    )
    await turns.finish(
        FinishedRun(
            run_id, "ana", place, "cancelled", uuid7(), "re: uno", False, "m", "auto", 3, 4, 1.0, None, 5.0, 6.0, None,
            None, now, now, (step,),
        )
    )  # fmt: skip
    (kept,) = await runs.steps(run_id)
    assert (kept.error_code, kept.error_detail, kept.detail) == ("tool_failed", None, None)


async def test_a_forks_copies_are_not_told_with_the_run_and_are_not_taken_back_with_it(database: Database) -> None:
    turns, conversations, place, copy = Turns(database), Conversations(database), uuid7(), uuid7()
    first = await turn(turns, "uno", place, new=True)
    await turn(turns, "dos", place, new=False)
    last = (await turns.history(place, "ana", 10)).messages[-1]
    assert await conversations.summarise(place, "ana", "hablan de uno y dos", last.position)
    await fork(database, place, last.id, "ana", fork_id=copy, title=None, most_messages=10)
    told = await turns.said(first, "ana")
    assert [message.content for message in told] == ["uno", "re: uno"]

    assert not await turns.forget(first, "ana", CALLS)
    left, copied = await turns.history(place, "ana", 10), await turns.history(copy, "ana", 10)
    assert (left.summary, [message.content for message in left.messages]) == (None, ["dos", "re: dos"])
    assert copied.summary == "hablan de uno y dos"
    messages = await database.rows(
        select(Message.content).where(Message.conversation_id == copy).order_by(Message.position)
    )
    assert [row.content for row in messages] == ["uno", "re: uno", "dos", "re: dos"]
    assert await turns.said(first, "ana") == []
