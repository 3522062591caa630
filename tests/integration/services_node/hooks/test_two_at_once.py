"""Two chat APIs that tell the same subscribers, on a real Postgres: nobody is told twice, nothing out of order."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from installation import Installation
from own_database import own_database
from sqlalchemy import URL

from db.engine import Database
from db.hooks import Hooks
from db.outbox import Outbox
from db.queued import NewQueued, QueuedRuns
from db.records import FinishedRun, NewHook, NewRun, OutgoingEvent
from db.turns import Turns
from services_node.chat_api.hooks.deciding import Answer, Retrying
from services_node.chat_api.hooks.delivering import Delivering, DeliveryLimits
from wire.ids import uuid7
from wire.webhooks import derived_secret

LIMITS = DeliveryLimits(Retrying(0.05, 0.2, 60), 10, 3, 0.05, timedelta(days=1), 10_000)
SUBSCRIBERS, RUNS = 5, 40


@pytest.fixture(scope="module")
def url(postgres: Installation) -> URL:
    return own_database(postgres)


class Receivers:
    """Take what comes; now and then one fails before it has taken it."""

    def __init__(self) -> None:
        self.told: dict[str, list[str]] = defaultdict(list)
        self.under_way: set[str] = set()
        self.calls = 0

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        assert url not in self.under_way, "one event at a time, whoever tells it"
        self.under_way.add(url)
        self.calls += 1
        try:
            await asyncio.sleep(0.001 * (self.calls % 5))
            if self.calls % 17 == 0:
                return Answer(None, "cannot be reached")
            self.told[url].append(body.decode())
            return Answer(204, "")
        finally:
            self.under_way.discard(url)


async def body(event: OutgoingEvent) -> bytes:
    return str(event.run_id).encode()


async def test_two_processes_tell_each_subscriber_everything_once_and_in_order(url: URL) -> None:
    receivers, database, secret = Receivers(), Database(url), derived_secret("k", "p")
    turns, hooks, queued, now = Turns(database), Hooks(database), QueuedRuns(database), datetime.now(UTC)
    for number in range(SUBSCRIBERS):
        events = ("run.completed", "run.failed", "run.cancelled")
        await hooks.add(NewHook(uuid7(), "ana", f"http://h/{number}", events, None, None), most=99)
    tasks = [Delivering(Outbox(database, uuid7()), receivers, body, lambda _: secret, LIMITS) for _ in range(2)]
    for task in tasks:
        task.start()

    async def ended(of: asyncio.Semaphore) -> None:
        async with of:
            run = NewRun(uuid7(), "ana", "chat", None, False, "", "0" * 32, "s", uuid7(), None, ())
            await turns.begin(run)
            await turns.finish(_finished(run, now))
            called = NewQueued(uuid7(), "ana", "chat", "0" * 32, "s", uuid7(), callback_url="http://c/")
            await queued.queue(called, None)
            await queued.close(called.id, "completed")
            for one in tasks:
                one.run_ended()

    of = asyncio.Semaphore(6)
    await asyncio.gather(*(ended(of) for _ in range(RUNS)))
    wanted = {f"http://h/{number}": 2 * RUNS for number in range(SUBSCRIBERS)} | {"http://c/": RUNS}
    async with asyncio.timeout(60):
        while {url: len(told) for url, told in receivers.told.items()} != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    for task in tasks:
        await task.stop(5)
    first = receivers.told["http://h/0"]
    assert len(set(first)) == 2 * RUNS
    assert all(receivers.told[f"http://h/{number}"] == first for number in range(SUBSCRIBERS))
    assert receivers.told["http://c/"] == [run for run in first if run in set(receivers.told["http://c/"])]
    await database.close()


def _finished(run: NewRun, now: datetime) -> FinishedRun:
    nothing: tuple[Any, ...] = (None,) * 7
    return FinishedRun(run.id, run.owner, None, "completed", uuid7(), "", True, *nothing, 1.0, None, None, now, now, ())
