"""Repositories on a real Postgres: owners, repeats, and what a sweep touches."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from installation import Installation
from sqlalchemy import make_url

from db.batches import Batches, NewBatch, Promise
from db.conversations import Conversations
from db.engine import Database
from db.files import Files
from db.records import FileRecord, FinishedRun, NewMessage, NewRun, RunStatus, StepRecord
from db.runs import Runs
from db.turns import Turns
from wire.errors import Conflict, NotFound
from wire.ids import uuid7

THEN = datetime.now(UTC) - timedelta(hours=1)


@pytest.fixture
async def database(postgres: Installation) -> AsyncIterator[Database]:
    url = postgres.run(
        "-c",
        "from stack.settings import get_settings as s; from stack.secrets import load_secrets as l;"
        "from db.urls import database_url as u; print(u(s(), l(s())).render_as_string(hide_password=False))",
    ).stdout.strip()
    made = Database(make_url(url))
    yield made
    await made.close()


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
    assert [one.content for one in said] == ["sé breve", "hola", "buenas"]
    assert [one.content for one in await turns.history(run.conversation_id, "ana", 1)] == ["buenas"]
    assert len(await runs.steps(run.id)) == 1 and (await runs.get(run.id, "ana")).completion_tokens == 4


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


async def test_a_batch_that_was_never_handed_on_does_not_stay_queued_and_its_key_is_free_again(
    database: Database,
) -> None:
    batches, runs, stack, instance = Batches(database), Runs(database), str(uuid7()), uuid7()

    async def queue(key: str, by: uuid.UUID = instance) -> uuid.UUID:
        return await batches.queue(NewBatch(uuid7(), "ana", "0" * 32, stack, by), Promise(key, "0" * 64, 60))

    keys, later_instance = [str(uuid7()) for _ in range(3)], uuid7()
    lost, handed_on = await queue(keys[0]), await queue(keys[1])
    ours = await queue(keys[2], later_instance)
    await runs.link_flow(handed_on, uuid7(), recorded=False)
    assert await runs.close_abandoned(stack, later_instance) == [lost]
    assert (await runs.get(lost, "ana")).status == "crashed"
    assert [(await runs.get(one, "ana")).status for one in (handed_on, ours)] == ["queued", "queued"]
    assert await queue(keys[0]) != lost and await queue(keys[1]) == handed_on


async def test_a_batch_taken_by_its_worker_names_its_flow_run_and_trace_and_is_taken_once(database: Database) -> None:
    batches, run_id, flow_run_id = Batches(database), uuid7(), uuid7()
    await batches.queue(NewBatch(run_id, "ana", "a" * 32, str(uuid7()), uuid7()), None)
    begun = await batches.begin(run_id, flow_run_id)
    assert begun is not None and (begun.trace_id, begun.flow_run_id) == ("a" * 32, flow_run_id)
    assert await batches.begin(run_id, flow_run_id) is None
    assert await batches.is_open(run_id)
    await batches.close(run_id, "cancelled")
    assert not await batches.is_open(run_id)


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
