"""Who is told of ended runs, on a real Postgres: whatever ends a run writes the event, in that very transaction."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from installation import Installation
from own_database import own_database
from sqlalchemy import URL, text

from db.batches import Batches
from db.engine import Database
from db.hooks import Hooks
from db.outbox import Leased, Outbox
from db.queued import MOST_CALLBACKS, NewQueued, Promise, QueuedRuns
from db.records import FinishedRun, NewHook, NewRun, OutgoingEvent, RunStatus
from db.runs import Runs
from db.turns import Turns
from wire.errors import Conflict, NotFound
from wire.ids import uuid7

NOW = datetime.now(UTC)
EVERY = ("run.completed", "run.failed", "run.cancelled")


@pytest.fixture(scope="module")
def url(postgres: Installation) -> URL:
    return own_database(postgres)


@pytest.fixture
async def house(url: URL) -> AsyncIterator[House]:
    """An owner of its own, so that no other test's runs are told here."""
    database = Database(url)
    yield House(database, f"ana-{uuid.uuid4().hex}")
    await database.close()


class House:
    def __init__(self, database: Database, owner: str) -> None:
        self.database, self.owner = database, owner
        self.hooks, self.turns, self.queued = Hooks(database), Turns(database), QueuedRuns(database)
        self.outbox = Outbox(database, uuid7())

    async def hook(self, *events: str, kinds: tuple[str, ...] | None = None, most: int = 9) -> uuid.UUID:
        hook = NewHook(uuid7(), self.owner, "http://h/", events or EVERY, kinds, None)
        assert await self.hooks.add(hook, most=most)
        return hook.id

    def new_run(self, **changed: Any) -> NewRun:
        run = NewRun(uuid7(), self.owner, "chat", None, False, "", "0" * 32, "s", uuid7(), None, ())
        return replace(run, **changed)

    async def begun(self, **changed: Any) -> NewRun:
        run = self.new_run(**changed)
        await self.turns.begin(run)
        return run

    async def finish(self, run: NewRun, status: RunStatus = "completed") -> None:
        await self.turns.finish(
            FinishedRun(
                run.id, run.owner, None, status, uuid7(), "", True, None, None, None, None, None, None, None, 1.0,
                None, None, NOW, NOW, (),
            )
        )  # fmt: skip

    async def ended(self, status: RunStatus = "completed", **changed: Any) -> uuid.UUID:
        run = await self.begun(**changed)
        await self.finish(run, status)
        return run.id

    async def queue(self, callback_url: str | None, **changed: Any) -> uuid.UUID:
        run = NewQueued(uuid7(), self.owner, "code-batch", "a" * 32, "s", uuid7(), callback_url=callback_url)
        return await self.queued.queue(replace(run, **changed), None)

    async def lease(self, outbox: Outbox | None = None, seconds: float = 30) -> list[Leased]:
        """Of this house; others' are left to themselves."""
        found = await (outbox or self.outbox).lease(1000, seconds)
        for one in found:
            if one.owner != self.owner:
                await (outbox or self.outbox).give_back(one)
        return [one for one in found if one.owner == self.owner]

    async def told(self, leased: Leased) -> list[OutgoingEvent]:
        """Everything that waits for it, in order: it has it then."""
        told: list[OutgoingEvent] = []
        while (found := await self.outbox.waiting(leased, 3)) is not None and found[0]:
            for event in found[0]:
                assert await self.outbox.had(leased, event, 30)
                told.append(event)
        assert found is not None
        await self.outbox.rest(leased, found[1])
        return told

    async def count(self) -> int:
        rows = await self.database.rows(
            text("SELECT count(*) AS n FROM outbox WHERE owner = :owner"), {"owner": self.owner}
        )
        return int(rows[0].n)


async def test_whatever_ends_a_run_writes_its_event(house: House) -> None:
    await house.hook()
    stack, batches, runs = uuid.uuid4().hex, Batches(house.database), Runs(house.database)
    by_turn = await house.ended()
    by_failure = await house.ended("failed")
    by_cancel = await house.ended("cancelled")
    by_close, by_batch, given_up = [await house.queue(None) for _ in range(3)]
    assert await house.queued.close(by_close, "cancelled") and await batches.close(by_batch, "crashed")
    await house.queued.give_up(given_up, "too_many", "words")
    lost = await house.begun(stack_id=stack)
    assert await runs.close_abandoned(stack, uuid7()) == [lost.id]
    (leased,) = await house.lease()
    told = await house.told(leased)
    assert [(event.run_id, event.event) for event in told] == [
        (by_turn, "run.completed"),
        (by_failure, "run.failed"),
        (by_cancel, "run.cancelled"),
        (by_close, "run.cancelled"),
        (by_batch, "run.failed"),
        (given_up, "run.failed"),
        (lost.id, "run.failed"),
    ]
    assert [event.status for event in told][-1] == "crashed"
    assert {event.event_id.version for event in told} == {7} and len({event.event_id for event in told}) == len(told)
    assert all(abs(((event.event_id.int >> 80) / 1000) - event.created_at.timestamp()) < 60 for event in told)


async def test_a_run_ends_once_however_often_that_is_said(house: House) -> None:
    await house.hook()
    run = await house.begun()
    await house.finish(run)
    await house.finish(run, "failed")
    assert not await house.queued.close(run.id, "failed")
    assert await house.count() == 1


async def test_nothing_is_written_of_runs_that_nobody_asked_to_be_told_of(house: House) -> None:
    await house.ended()
    assert await house.count() == 0
    await house.hook("run.failed", kinds=("code",))
    for status, kind in (("completed", "code"), ("failed", "chat"), ("cancelled", "code")):
        await house.ended(status, kind=kind)  # type: ignore[arg-type]
    assert await house.count() == 0
    wanted = await house.ended("failed", kind="code")
    (leased,) = await house.lease()
    assert [event.run_id for event in await house.told(leased)] == [wanted]


async def test_each_hook_and_a_callback_are_told_of_one_event_under_one_id(house: House) -> None:
    hooks = {await house.hook(), await house.hook()}
    run_id = await house.queue("http://r/")
    assert [callback.state for callback in await house.hooks.callbacks(run_id)] == ["pending"]
    await house.queued.close(run_id, "completed")
    leased = await house.lease()
    assert {one.id for one in leased if one.is_hook} == hooks and [one.url for one in leased if not one.is_hook] == [
        "http://r/"
    ]
    told = [event for one in leased for event in await house.told(one)]
    assert {event.run_id for event in told} == {run_id} and len({event.event_id for event in told}) == 1
    assert [event.is_callback for event in told].count(True) == 1
    (callback,) = await house.hooks.callbacks(run_id)
    assert (callback.state, callback.attempts) == ("delivered", 1)


async def test_a_callbacks_address_is_forgotten_when_nothing_waits_and_known_again(house: House) -> None:
    for _ in range(2):
        run_id = await house.queue("http://r/")
        await house.queued.close(run_id, "completed")
        (leased,) = await house.lease()
        assert [event.run_id for event in await house.told(leased)] == [run_id]
        kept = await house.database.rows(
            text("SELECT id FROM subscribers WHERE owner = :owner"), {"owner": house.owner}
        )
        assert not kept


async def test_a_run_that_could_not_begin_is_not_called_back(house: House) -> None:
    run_id = await house.queue("http://r/")
    await house.queued.give_up(run_id, "too_many", "words")
    assert await house.count() == 0 and await house.hooks.callbacks(run_id) == []


async def test_a_promise_that_was_made_before_writes_no_second_callback(house: House) -> None:
    run = NewQueued(uuid7(), house.owner, "chat", "a" * 32, "s", uuid7(), callback_url="http://r/")
    promise = Promise(uuid.uuid4().hex, "digest", 60)
    assert await house.queued.queue(run, promise) == run.id
    assert await house.queued.queue(replace(run, id=uuid7()), promise) == run.id
    assert len(await house.hooks.callbacks(run.id)) == 1


async def test_who_asks_for_a_run_again_is_told_as_well_also_when_it_has_ended(house: House) -> None:
    run_id = await house.queue("http://first/")
    await house.queued.tell_too(run_id, house.owner, "http://second/")
    await house.queued.close(run_id, "completed")
    leased = await house.lease()
    assert {one.url for one in leased} == {"http://first/", "http://second/"}
    told = [event for one in leased for event in await house.told(one)]
    assert [event.run_id for event in told] == [run_id] * 2 and len({event.event_id for event in told}) == 1
    for _ in range(2):
        await house.queued.tell_too(run_id, house.owner, "http://third/")
    (leased_late,) = await house.lease()
    assert [event.event for event in await house.told(leased_late)] == ["run.completed"], "once, at once"
    assert [callback.url for callback in await house.hooks.callbacks(run_id)] == [
        "http://first/", "http://second/", "http://third/",
    ]  # fmt: skip
    assert {callback.state for callback in await house.hooks.callbacks(run_id)} == {"delivered"}
    for place in range(MOST_CALLBACKS - 3):
        await house.queued.tell_too(run_id, house.owner, f"http://more/{place}")
    with pytest.raises(Conflict, match="already"):
        await house.queued.tell_too(run_id, house.owner, "http://one-more/")


async def test_a_callback_that_is_added_while_its_run_ends_is_told_once(house: House) -> None:
    for _ in range(30):
        run_id = await house.queue(None)
        await asyncio.gather(
            house.queued.close(run_id, "completed"), house.queued.tell_too(run_id, house.owner, "http://r/")
        )
        (leased,) = await house.lease()
        assert [event.run_id for event in await house.told(leased)] == [run_id]


async def test_runs_that_end_at_once_are_told_in_the_order_they_can_be_seen(house: House) -> None:
    """A position that becomes visible after a later one has been told would be told out of order."""
    await house.hook()
    runs = [await house.begun() for _ in range(60)]
    seen: list[int] = []

    async def look() -> None:
        while len(seen) < len(runs):
            rows = await house.database.rows(
                text("SELECT position FROM outbox WHERE owner = :owner ORDER BY position"), {"owner": house.owner}
            )
            now = [row.position for row in rows]
            assert now[: len(seen)] == seen, "a position came before one that was there"
            seen[:] = now

    async with asyncio.timeout(60):
        await asyncio.gather(look(), *(house.finish(run) for run in runs))
    (leased,) = await house.lease()
    assert [event.position for event in await house.told(leased)] == seen == sorted(seen)


async def test_of_two_processes_one_tells_a_subscriber(house: House) -> None:
    await house.hook()
    await house.ended()
    second = Outbox(house.database, uuid7())
    (leased,) = await house.lease()
    assert await house.lease(second) == []
    assert await second.waiting(leased, 9) is None
    found = await house.outbox.waiting(leased, 9)
    assert found is not None
    assert not await second.had(leased, replace(found[0][0], position=-1), 30)  # not its lease


async def test_who_was_killed_is_followed_by_another_that_tells_the_same_event(house: House) -> None:
    await house.hook()
    await house.ended()
    (leased,) = await house.lease(seconds=0.2)
    first = await house.outbox.waiting(leased, 9)
    second = Outbox(house.database, uuid7())
    async with asyncio.timeout(10):
        while not (taken := await house.lease(second)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    again = await second.waiting(taken[0], 9)
    assert first is not None and again is not None and first[0] == again[0]
    assert await second.had(taken[0], again[0][0], 30)
    await house.outbox.failed(leased, first[0][0], "late", 9)  # the one that was thought dead
    assert (await house.hooks.of(house.owner))[0].failures == 0


async def test_what_comes_while_its_subscriber_is_told_is_told_too(house: House) -> None:
    await house.hook()
    await house.ended()
    (leased,) = await house.lease()
    found = await house.outbox.waiting(leased, 9)
    assert found is not None
    assert await house.outbox.had(leased, found[0][0], 30)
    late = await house.ended()  # after the look, before the rest
    assert await house.outbox.rest(leased, found[1])
    (again,) = await house.lease()
    assert [event.run_id for event in await house.told(again)] == [late]
    assert await house.lease() == []


async def test_a_failure_waits_and_holds_back_what_comes_after(house: House) -> None:
    hook_id, run_id = await house.hook(), await house.queue("http://r/")
    await house.queued.close(run_id, "failed")
    for leased in await house.lease():
        found = await house.outbox.waiting(leased, 9)
        assert found is not None
        await house.outbox.failed(leased, found[0][0], "answered 500\x00", 0.2)
    await house.ended()
    assert await house.lease() == []
    hook = await house.hooks.get(hook_id, house.owner)
    assert (hook.failures, hook.last_error, hook.pending) == (1, "answered 500\ufffd", 2)
    (callback,) = await house.hooks.callbacks(run_id)
    assert (callback.state, callback.attempts) == ("pending", 1)
    async with asyncio.timeout(10):
        while len(taken := await house.lease(seconds=0)) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert {one.failures for one in taken} == {1}
    callback_lane = next(one for one in taken if not one.is_hook)
    (mine,) = [one for one in await house.lease() if one.id == callback_lane.id]
    found = await house.outbox.waiting(mine, 9)
    assert found is not None
    assert await house.outbox.given_up(mine, found[0][0], "too late", 30)
    (callback,) = await house.hooks.callbacks(run_id)
    assert (callback.state, callback.attempts, callback.last_error) == ("failed", 2, "too late")


async def test_what_waited_too_long_or_is_too_much_goes_the_oldest_first(house: House) -> None:
    hook_id = await house.hook()
    runs = [await house.ended() for _ in range(5)]
    assert await house.outbox.expire(timedelta(days=1), 3) >= 2
    (leased,) = await house.lease()
    assert [event.run_id for event in await house.told(leased)] == runs[2:]
    run_id = await house.queue("http://r/")
    await house.queued.close(run_id, "completed")
    await house.database.rows(
        text("UPDATE outbox SET created_at = now() - interval '2 days' WHERE owner = :owner"), {"owner": house.owner}
    )
    await house.outbox.expire(timedelta(days=1), 1000)
    (callback,) = await house.hooks.callbacks(run_id)
    assert await house.count() == 0 and callback.state == "failed"
    for leased in await house.lease():
        assert await house.told(leased) == []
    assert (await house.hooks.get(hook_id, house.owner)).next_attempt_at is None


async def test_a_hook_is_its_owners_and_goes_with_what_waits_for_it(house: House) -> None:
    hook_id = await house.hook()
    await house.ended()
    for refused in (house.hooks.get(hook_id, "eva"), house.hooks.remove(hook_id, "eva")):
        with pytest.raises(NotFound):
            await refused
    (leased,) = await house.lease()
    await house.hooks.remove(hook_id, house.owner)
    assert await house.outbox.waiting(leased, 9) is None and await house.count() == 0
    await house.ended()
    assert await house.count() == 0


async def test_a_hook_that_has_gone_is_removed_and_a_run_ends_all_the_same(house: House) -> None:
    await house.hook()
    runs = [await house.begun() for _ in range(20)]
    await house.finish(runs[0])
    (leased,) = await house.lease()
    await asyncio.gather(house.outbox.gone(leased), *(house.finish(run) for run in runs[1:]))
    assert await house.hooks.of(house.owner) == [] and await house.count() == 0
    kept = await Runs(house.database).page(house.owner, limit=99)
    assert {run.status for run in kept} == {"completed"}


async def test_an_owner_has_so_many_hooks_and_no_more(house: House) -> None:
    hooks = [await house.hook(most=2) for _ in range(2)]
    more = NewHook(uuid7(), house.owner, "http://h/", EVERY, None, None)
    assert not await house.hooks.add(more, most=2)
    assert [hook.id for hook in await house.hooks.of(house.owner)] == hooks


async def test_a_run_comes_from_where_its_parent_does(house: House) -> None:
    parent = await house.begun(origin="n8n", n8n_execution_id="42", n8n_workflow_id="aB")
    child = await house.begun(origin="api", parent_id=parent.id, kind="code")
    own = await house.begun(origin="n8n", n8n_execution_id="43", parent_id=child.id)
    queued = await house.queue(None, parent_id=child.id)
    alone = await house.begun(origin="chat")
    runs = Runs(house.database)
    found = {run.id: run for run in await runs.page(house.owner, limit=99)}
    told = {id_: (run.origin, run.n8n_execution_id, run.n8n_workflow_id) for id_, run in found.items()}
    assert told == {
        parent.id: ("n8n", "42", "aB"), child.id: ("n8n", "42", "aB"), own.id: ("n8n", "43", None),
        queued: ("n8n", "42", "aB"), alone.id: ("chat", None, None),
    }  # fmt: skip
