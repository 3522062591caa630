"""Rows of batches and their items, of the day's digest, and what retention removes, on a real Postgres."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from db.ageing import Ageing
from db.batch_items import BatchItems, ItemCounts, ItemRecord, NewItem
from db.batches import Batches, NewScheduled
from db.engine import Database
from db.queued import NewQueued, QueuedRuns
from db.reports import Reports
from db.runs import Runs
from db.turns import Turns
from tests.integration.db.test_repositories import finished, new_run
from wire.ids import uuid7


async def queued(database: Database, kind: str = "chat-batch", owner: str = "ana") -> uuid.UUID:
    return await QueuedRuns(database).queue(NewQueued(uuid7(), owner, kind, "0" * 32, "s", uuid7()), None)


async def test_a_batch_is_gone_on_with_by_its_own_flow_run_alone(database: Database) -> None:
    batches, run_id, flow_run_id = Batches(database), await queued(database), uuid7()
    first = await batches.begin(run_id, flow_run_id)
    assert first is not None and not first.resumed and first.flow_run_id == flow_run_id
    again = await batches.begin(run_id, flow_run_id)
    assert again is not None and again.resumed and again.started_at == first.started_at
    assert await batches.begin(run_id, uuid7()) is None
    assert await batches.close(run_id, "cancelled") and await batches.begin(run_id, flow_run_id) is None
    assert await batches.status(run_id) == "cancelled" and await batches.status(uuid7()) is None


async def test_a_flow_run_of_the_clock_has_one_row_however_often_it_begins(database: Database) -> None:
    batches, flow_run_id = Batches(database), uuid7()

    def scheduled() -> NewScheduled:
        return NewScheduled(uuid7(), "local", "digest", "0" * 32, "s", flow_run_id, flow_run_id)

    first = await batches.scheduled(scheduled())
    assert await batches.scheduled(scheduled()) == first
    begun = await batches.begin(first, flow_run_id)
    assert begun is not None and begun.owner == "local"
    run = await Runs(database).get(first, "local")
    assert (run.kind, run.origin) == ("digest", "schedule")


async def test_an_item_is_ended_once_and_by_who_claimed_it(database: Database) -> None:
    items, run_id = BatchItems(database), await queued(database)
    await Batches(database).begin(run_id, uuid7())
    new = [NewItem(1, "a"), NewItem(2, "b\x00"), NewItem(3, None, "failed", "wrong_line", "no")]
    await items.add(run_id, new)
    assert await items.take_over(run_id) == [1, 2]
    mine, theirs = uuid7(), uuid7()
    assert await items.claim(run_id, 1, mine) and await items.claim(run_id, 1, mine)
    assert not await items.claim(run_id, 1, theirs)
    done = ItemRecord(1, "a", "completed", "hola\x00", "m", "auto", 1, 2, 3.0, 1)
    assert not await items.end(run_id, theirs, done)
    assert await items.end(run_id, mine, done) and await items.end(run_id, mine, done)
    assert not await items.claim(run_id, 1, mine)
    assert await items.claim(run_id, 2, mine)
    await items.add(run_id, new)  # by who takes over, once more
    assert await items.take_over(run_id) == [2]
    assert not await items.end(run_id, mine, ItemRecord(2, "b", "completed", "late"))
    assert await items.counts(run_id) == ItemCounts(1, 1, 3)
    first, second = await items.of(run_id, limit=2)
    assert first.content == "hola\ufffd" and second.name == "b\ufffd" and second.status == "queued"
    assert [one.number for one in await items.failures_first(run_id, 2)] == [3, 1]
    assert [one.number for one in await items.of(run_id, after=2)] == [3]
    await Batches(database).close(run_id, "cancelled")
    assert not await items.claim(run_id, 2, theirs), "of a batch that is closed nothing is asked"


async def test_a_digest_counts_a_days_rows_of_everybody_or_of_one(database: Database) -> None:
    turns, reports, mine, other = Turns(database), Reports(database), uuid7().hex, uuid7().hex
    for owner in (mine, other):
        run = new_run(owner)
        await turns.begin(run)
        await turns.finish(finished(run))
    broken = new_run(mine)
    await turns.begin(broken)
    end = finished(broken, "failed", "")
    await turns.finish(type(end)(**{**{n: getattr(end, n) for n in end.__slots__}, "error_code": "queue_full"}))
    since, until = datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)
    found = await reports.day(since, until, owner=mine, titles=1)
    assert [(one.owner, one.conversations, one.questions, one.answers) for one in found.said] == [(mine, 2, 2, 1)]
    assert [(one.kind, one.status, one.runs) for one in found.runs] == [("chat", "completed", 1), ("chat", "failed", 1)]
    assert [(one.code, one.runs) for one in found.failures] == [("queue_full", 1)] and found.titles == [(mine, "hola")]
    assert [(one.model, one.runs, one.first_token_ms) for one in found.models] == [("m", 2, 5.0)]
    everybody = await reports.day(since, until, owner=None, titles=1)
    assert {mine, other} <= {one.owner for one in everybody.said}
    assert not (await reports.day(until, until + timedelta(days=1), owner=None, titles=1)).runs
    (routed,) = await reports.routed(owner=mine, most=9)
    assert (routed.model, routed.content) == ("m", "hola")


async def test_retention_removes_what_ended_before_and_nothing_else(database: Database) -> None:
    turns, ageing, owner = Turns(database), Ageing(database), uuid7().hex
    old, young, open_ = new_run(owner), new_run(owner), new_run(owner)
    for run in (old, young, open_):
        await turns.begin(run)
    for run in (old, young):
        await turns.finish(finished(run))
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    for statement in (
        "UPDATE runs SET created_at = :then WHERE id IN (:old, :open)",
        "UPDATE conversations SET updated_at = :then WHERE id IN (SELECT conversation_id FROM runs WHERE id IN "
        "(:old, :open))",
    ):
        await database.rows(text(statement), {"then": long_ago, "old": old.id, "open": open_.id})
    cut = datetime(2001, 1, 2, tzinfo=UTC)
    assert await ageing.count_runs(cut) == 1 and await ageing.count_conversations(cut) == 1
    assert await ageing.quiet_conversations(cut, 9) == [(old.conversation_id, owner)]
    assert await ageing.remove_runs(cut, 9) == 1 and await ageing.remove_runs(cut, 9) == 0
    left = {one.id for one in await Runs(database).page(owner, limit=9)}
    assert left == {young.id, open_.id}
    said = await turns.history(old.conversation_id, owner, 9)
    assert said.messages and said.messages[-1].run_id is None
    assert await ageing.count_files(cut) == 0
