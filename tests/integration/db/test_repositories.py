"""Repositories on a real Postgres: owners, repeats, and what a sweep touches."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.batches import Batches
from db.conversations import Conversations
from db.engine import Database
from db.files import Files
from db.queued import NewQueued, Promise, QueuedRuns
from db.records import FileRecord, FinishedRun, NewMessage, NewRun, RunStatus, StepRecord, ToolCallRecord, ToolStatus
from db.runs import Runs
from db.turns import Turns
from wire.errors import Conflict, NotFound
from wire.ids import uuid7

THEN = datetime.now(UTC) - timedelta(hours=1)


def new_run(owner: str = "ana", stack: str = "s", instance: uuid.UUID | None = None) -> NewRun:
    messages = (NewMessage(uuid7(), "system", "sé breve"), NewMessage(uuid7(), "user", "hola"))
    return NewRun(uuid7(), owner, "chat", uuid7(), True, "hola", "0" * 32, stack, instance or uuid7(), None, messages)


def finished(run: NewRun, status: RunStatus = "completed", content: str = "buenas") -> FinishedRun:
    step = StepRecord(uuid7(), "model_call", "completed", THEN, THEN)
    return FinishedRun(
        run.id, run.owner, run.conversation_id, status, uuid7(), content, True, "m", "auto", 3, 4, 1.0, None, 5.0, 6.0,
        None, None, THEN, THEN, (step,),
    )  # fmt: skip


async def test_a_turn_is_written_whole_and_in_order(database: Database) -> None:
    turns, runs, run = Turns(database), Runs(database), new_run()
    await turns.begin(run)
    assert (await runs.get(run.id, "ana")).status == "running"
    end = finished(run)
    await turns.finish(end)
    await turns.finish(end)  # a repeat changes nothing
    said = await turns.history(run.conversation_id, "ana", 10)
    assert [one.content for one in said.messages] == ["sé breve", "hola", "buenas"]
    newest = (await turns.history(run.conversation_id, "ana", 1)).messages
    assert [one.content for one in newest] == ["sé breve", "buenas"]  # what a model is told to be is not counted
    assert len(await runs.steps(run.id)) == 1 and (await runs.get(run.id, "ana")).completion_tokens == 4


async def test_messages_are_read_page_by_page_from_the_newest(database: Database) -> None:
    turns, conversations, run = Turns(database), Conversations(database), new_run()
    await turns.begin(run)
    await turns.finish(finished(run))
    whole = [one.id for one in await conversations.messages(run.conversation_id, "ana", limit=9)]
    found: list[uuid.UUID] = []
    while page := await conversations.messages(run.conversation_id, "ana", limit=1, before=found[0] if found else None):
        found = [one.id for one in page] + found
    assert found == whole and len(whole) > 1
    assert await conversations.messages(run.conversation_id, "ana", limit=1, before=uuid7()) == []


async def test_nobody_sees_anothers(database: Database) -> None:
    turns, runs, conversations, run = Turns(database), Runs(database), Conversations(database), new_run("ana")
    await turns.begin(run)
    for refused in (
        turns.history(run.conversation_id, "eva", 10),
        conversations.get(run.conversation_id, "eva"),
        conversations.remove(run.conversation_id, "eva"),
        runs.get(run.id, "eva"),
    ):
        with pytest.raises(NotFound):
            await refused
    assert run.conversation_id not in {one.id for one in await conversations.page("eva", limit=200)}
    assert run.id not in {one.id for one in await runs.page("eva", limit=200)}
    assert (await conversations.get(run.conversation_id, "ana")).title == "hola"


async def test_a_run_id_is_used_once_and_a_repeat_of_the_same_write_is_no_error(database: Database) -> None:
    turns, run = Turns(database), new_run()
    await turns.begin(run)
    await turns.begin(run)  # the same statement again, as after a broken connection
    other = new_run()
    with pytest.raises(Conflict):
        await turns.begin(NewRun(**{**{f: getattr(other, f) for f in other.__slots__}, "id": run.id}))


async def test_a_turn_in_a_conversation_that_has_gone_is_refused(database: Database) -> None:
    run = new_run()
    gone = NewRun(**{**{f: getattr(run, f) for f in run.__slots__}, "new_conversation": False})
    with pytest.raises(NotFound):
        await Turns(database).begin(gone)


async def test_an_answer_to_a_removed_conversation_closes_its_run_only(database: Database) -> None:
    turns, run = Turns(database), new_run()
    await turns.begin(run)
    await Conversations(database).remove(run.conversation_id, "ana")
    await turns.finish(finished(run))
    found = await Runs(database).get(run.id, "ana")
    assert found.status == "completed" and found.conversation_id is None


async def test_a_sweep_closes_open_runs_of_earlier_processes_of_its_own_stack(database: Database) -> None:
    turns, runs, stack, now = Turns(database), Runs(database), uuid.uuid4().hex, uuid7()
    lost, mine, other, ended = new_run(stack=stack), new_run(stack=stack, instance=now), new_run(), new_run(stack=stack)
    for run in (lost, mine, other, ended):
        await turns.begin(run)
    await turns.finish(finished(ended))
    assert await runs.close_abandoned(stack, now) == [lost.id]
    statuses = [(await runs.get(run.id, "ana")).status for run in (lost, mine, other, ended)]
    assert statuses == ["crashed", "running", "running", "completed"]
    missed = await runs.unrecorded(stack, THEN, 10)
    assert {run.id for run in missed} == {lost.id, ended.id}
    await runs.link_flow(lost.id, uuid7(), recorded=True)
    assert {run.id for run in await runs.unrecorded(stack, THEN, 10)} == {ended.id}


async def test_many_at_once_share_the_pool(database: Database) -> None:
    turns = Turns(database)
    batch = [new_run() for _ in range(60)]
    await asyncio.gather(*(turns.begin(run) for run in batch))
    await asyncio.gather(*(turns.finish(finished(run)) for run in batch))


def queued(kind: str = "chat", stack: str = "s", instance: uuid.UUID | None = None, **changed: Any) -> NewQueued:
    return replace(NewQueued(uuid7(), "ana", kind, "a" * 32, stack, instance or uuid7()), **changed)


def promise(key: str | None = None, request: str = "0" * 64) -> Promise:
    return Promise(key or str(uuid7()), request, 60)


async def test_a_run_that_never_began_does_not_stay_queued_and_its_key_is_free_again(database: Database) -> None:
    waiting, runs, stack, instance = QueuedRuns(database), Runs(database), str(uuid7()), uuid7()
    keys, later = [promise() for _ in range(4)], uuid7()
    lost = await waiting.queue(queued("code-batch", stack, instance), keys[0])
    handed_on = await waiting.queue(queued("code-batch", stack, instance), keys[1])
    ours = await waiting.queue(queued("code-batch", stack, later), keys[2])
    chat = await waiting.queue(queued("chat", stack, instance), keys[3])
    await runs.link_flow(handed_on, uuid7(), recorded=False)
    assert set(await runs.close_abandoned(stack, later)) == {lost, chat}
    assert [(await runs.get(one, "ana")).status for one in (lost, chat)] == ["crashed", "crashed"]
    assert [(await runs.get(one, "ana")).status for one in (handed_on, ours)] == ["queued", "queued"]
    assert await waiting.queue(queued("code-batch", stack), keys[0]) != lost
    assert await waiting.queue(queued("chat", stack), keys[3]) != chat
    assert await waiting.queue(queued("code-batch", stack), keys[1]) == handed_on


async def test_a_promise_is_kept_once_by_whoever_asks_at_once(database: Database) -> None:
    waiting, made = QueuedRuns(database), promise()
    ids = await asyncio.gather(*(waiting.queue(queued(), made) for _ in range(20)))
    assert len(set(ids)) == 1 and await waiting.promised("ana", made) == ids[0]
    assert await waiting.promised("eva", made) is None  # a key is its owner's
    with pytest.raises(Conflict):
        await waiting.promised("ana", promise(made.key, "1" * 64))
    with pytest.raises(Conflict):
        await waiting.queue(queued(), promise(made.key, "1" * 64))
    with pytest.raises(Conflict):
        await waiting.queue(queued(id=ids[0]), None)
    await waiting.give_up(ids[0], "no", "not now")
    assert await waiting.promised("ana", made) is None
    assert (await Runs(database).get(ids[0], "ana")).error_code == "no"
    assert await waiting.queue(queued(), replace(made, lasts_seconds=-1)) not in ids
    assert await waiting.promised("ana", made) is None


async def test_a_queued_run_begins_once_with_its_conversation(database: Database) -> None:
    waiting, turns, runs, instance = QueuedRuns(database), Turns(database), Runs(database), uuid7()
    parent = new_run()
    await turns.begin(parent)
    given = queued(instance=instance, parent_id=parent.id)
    await waiting.queue(given, None)
    run = replace(new_run(instance=instance), id=given.id, queued=True, trace_id=given.trace_id)
    with pytest.raises(Conflict):
        await turns.begin(replace(run, owner="eva"))
    with pytest.raises(NotFound):
        await Conversations(database).get(run.conversation_id, "eva")
    await turns.begin(run)
    await turns.begin(run)  # the same statement again
    found = await runs.get(run.id, "ana")
    assert found.status == "running" and found.conversation_id == run.conversation_id
    assert found.parent_id == parent.id and found.started_at is not None
    assert len((await turns.history(run.conversation_id, "ana", 10)).messages) == 2
    with pytest.raises(Conflict):
        await turns.begin(replace(run, messages=new_run().messages, conversation_id=uuid7()))
    closed = queued(instance=instance)
    await waiting.queue(closed, None)
    await waiting.close(closed.id, "cancelled")
    late = replace(new_run(instance=instance), id=closed.id, queued=True)
    with pytest.raises(Conflict):
        await turns.begin(late)
    with pytest.raises(NotFound):
        await Conversations(database).get(late.conversation_id, "ana")


async def test_a_batch_taken_by_its_worker_names_its_flow_run_and_trace_and_is_gone_on_with(database: Database) -> None:
    batches, run, flow_run_id = Batches(database), queued("code-batch"), uuid7()
    await QueuedRuns(database).queue(run, None)
    begun = await batches.begin(run.id, flow_run_id)
    assert begun is not None and (begun.trace_id, begun.flow_run_id) == ("a" * 32, flow_run_id)
    assert not begun.resumed
    again = await batches.begin(run.id, flow_run_id)
    assert again == replace(begun, resumed=True), "an earlier worker was at it"
    assert await batches.is_open(run.id)
    await batches.close(run.id, "cancelled")
    assert not await batches.is_open(run.id)
    assert await batches.begin(run.id, flow_run_id) is None


async def test_an_owners_bytes_are_counted_and_files_with_a_row_are_known(database: Database) -> None:
    files, owner = Files(database), str(uuid7())
    assert await files.bytes_of(owner) == 0
    kept = [
        FileRecord(uuid7(), owner, None, None, "a", "text/plain", size, "0", f"p{size}", THEN) for size in (3, 2**33)
    ]
    for one in kept:
        await files.add(one)
    assert await files.bytes_of(owner) == 3 + 2**33
    assert await files.known([kept[0].id, uuid7()]) == {kept[0].id}


def call(name: str = "calculate", status: ToolStatus = "completed", **changed: Any) -> ToolCallRecord:
    made = ToolCallRecord("c1", name, {"expression": "1+1"}, status, "2", None, 1.5, untrusted=False)
    return replace(made, **changed)


def in_conversation(run: NewRun, **changed: Any) -> NewRun:
    """A further run in a run's conversation."""
    return replace(run, id=uuid7(), new_conversation=False, messages=(NewMessage(uuid7(), "user", "¿y?"),), **changed)


async def test_tool_calls_are_kept_with_the_answer_and_counted_with_its_run(database: Database) -> None:
    turns, runs, run = Turns(database), Runs(database), new_run()
    await turns.begin(run)
    refused = call(status="failed", result=None, error={"code": "no", "detail": "x" * 5000}, untrusted=True)
    wild = call(
        arguments={"deep": json.loads("[" * 500 + "]" * 500), "nul": "a\x00\ud800b", "inf": float("inf"), "n\x00": 1}
    )
    end = replace(finished(run), tool_calls=(call(), refused, wild))
    await turns.finish(end)
    answer = (await turns.history(run.conversation_id, "ana", 10)).messages[-1]
    assert answer.tool_calls[0] == call()
    assert answer.tool_calls[1].error == {"code": "no", "detail": "x" * 2000} and answer.tool_calls[1].untrusted
    assert answer.tool_calls[2].arguments["nul"] == "a\ufffd?b" and answer.tool_calls[2].arguments["inf"] == "inf"
    found = await runs.get(run.id, "ana")
    assert (found.tool_calls, found.tool_errors) == (3, 1)
    asked = in_conversation(run)
    await turns.begin(asked)
    await turns.finish(replace(finished(asked, "cancelled", ""), complete=False, tool_calls=(call(),)))
    last = (await turns.history(run.conversation_id, "ana", 10)).messages[-1]
    assert last.content == "" and len(last.tool_calls) == 1 and not last.complete


async def test_steps_keep_their_kind_parent_and_detail(database: Database) -> None:
    turns, run, first = Turns(database), new_run(), uuid7()
    await turns.begin(run)
    steps = (
        StepRecord(first, "model_call", "completed", THEN, THEN, kind="model_call", detail={"tokens": 4, "a\x00": [1]}),
        StepRecord(uuid7(), "calculate", "failed", THEN, None, "code", "d\x00", kind="tool_call", parent_id=first),
    )
    await turns.finish(replace(finished(run), steps=steps))
    kept = await Runs(database).steps(run.id)
    assert [(one.kind, one.parent_id, one.detail) for one in kept] == [
        ("model_call", None, {"tokens": 4, "a\ufffd": [1]}),
        ("tool_call", first, None),
    ]


async def test_a_run_knows_its_parent_unless_that_is_not_its_owners(database: Database) -> None:
    turns, runs, parent = Turns(database), Runs(database), new_run("ana")
    await turns.begin(parent)
    for owner, given, expected in (("ana", parent.id, parent.id), ("eva", parent.id, None), ("ana", uuid7(), None)):
        child = replace(new_run(owner), parent_id=given)
        await turns.begin(child)
        assert (await runs.get(child.id, owner)).parent_id == expected


async def test_a_new_answer_takes_the_place_of_the_old_one_and_a_broken_one_does_not(database: Database) -> None:
    turns, run = Turns(database), new_run()
    await turns.begin(run)
    await turns.finish(finished(run))
    old = (await turns.history(run.conversation_id, "ana", 10)).messages[-1]
    later = in_conversation(run)
    await turns.begin(later)
    before = await turns.history(run.conversation_id, "ana", 10, before=old.position)
    assert [one.role for one in before.messages] == ["system", "user"]

    async def again(**changed: Any) -> None:
        made = replace(in_conversation(run), messages=())
        await turns.begin(made)
        end = replace(finished(made, content="mejor"), replaces=old.id, **changed)
        await turns.finish(end)
        await turns.finish(end)

    for refused in ({"complete": False, "status": "failed"}, {"content": ""}, {"owner": "eva"}):
        await again(**refused)
        said = (await turns.history(run.conversation_id, "ana", 10)).messages
        assert [one.content for one in said] == ["sé breve", "hola", "buenas", "¿y?"], refused
    await again(tool_calls=(call(),))
    await again(content="demasiado tarde")  # the answer that it was to replace has gone
    said = (await turns.history(run.conversation_id, "ana", 10)).messages
    assert [one.content for one in said] == ["sé breve", "hola", "mejor", "¿y?"]
    assert said[2].position == old.position and said[2].id != old.id and said[2].tool_calls == (call(),)


async def test_a_summary_stands_for_what_it_covers_until_that_is_said_anew(database: Database) -> None:
    turns, conversations, run = Turns(database), Conversations(database), new_run()
    await turns.begin(run)
    await turns.finish(finished(run))
    conversation_id = run.conversation_id
    _, question, answer = (await turns.history(conversation_id, "ana", 10)).messages
    assert not await conversations.summarise(conversation_id, "eva", "x", question.position)
    assert not await conversations.summarise(conversation_id, "ana", "x", answer.position + 10_000)
    assert await conversations.summarise(conversation_id, "ana", "saluda\x00", question.position)
    assert not await conversations.summarise(conversation_id, "ana", "older", question.position)
    known = await turns.history(conversation_id, "ana", 10)
    assert known.summary == "saluda\ufffd" and [one.content for one in known.messages] == ["sé breve", "buenas"]
    assert await conversations.summarise(conversation_id, "ana", "all", answer.position)
    known = await turns.history(conversation_id, "ana", 10)
    assert known.summary == "all" and [one.content for one in known.messages] == ["sé breve"]
    known = await turns.history(conversation_id, "ana", 10, before=answer.position)
    assert known.summary is None and [one.content for one in known.messages] == ["sé breve", "hola"]
    again = replace(in_conversation(run), messages=())
    await turns.begin(again)
    await turns.finish(replace(finished(again, content="mejor"), replaces=answer.id))
    known = await turns.history(conversation_id, "ana", 10)
    assert known.summary is None and [one.content for one in known.messages] == ["sé breve", "hola", "mejor"]
