"""The task that tells subscribers, with a database and receivers made up."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.errors import DatabaseUnavailable
from db.outbox import Leased
from db.records import OutgoingEvent
from services_node.chat_api.hooks.deciding import Answer, Retrying
from services_node.chat_api.hooks.delivering import Delivering, DeliveryLimits
from wire.ids import uuid7
from wire.webhooks import derived_secret, verify

LIMITS = DeliveryLimits(Retrying(0.01, 0.02, 0.0), 10, 4, 0.02, timedelta(days=1), 100)
SECRET = derived_secret("k", "p")


@dataclass
class House:
    """`Events` and `Post` in one: what waits for whom, what was told, and what goes wrong."""

    answers: Callable[[str, int], Answer] = lambda _url, _try: Answer(200, "")
    slow: frozenset[str] = frozenset()
    waiting_for: dict[str, list[OutgoingEvent]] = field(default_factory=lambda: defaultdict(list))
    told: list[tuple[str, str]] = field(default_factory=list)
    leased: set[str] = field(default_factory=set)
    due: dict[str, float] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    at_once: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    away: int = 0
    ends: list[tuple[str, str]] = field(default_factory=list)
    position: int = 0
    looked: int = 0

    def ended(self, url: str, *, is_callback: bool = False) -> uuid.UUID:
        self.position += 1
        event = OutgoingEvent(
            self.position, uuid7(), is_callback, "run.completed", uuid7(), "ana", "chat", "completed", "api",
            datetime.now(UTC),
        )  # fmt: skip
        self.waiting_for[url].append(event)
        return event.event_id

    def _is_due(self, url: str) -> bool:
        now = asyncio.get_running_loop().time()
        return bool(self.waiting_for[url]) and url not in self.leased and self.due.get(url, 0) <= now

    async def lease(self, most: int, seconds: float) -> list[Leased]:
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable()
        found = [url for url in list(self.waiting_for) if self._is_due(url)][:most]
        self.leased.update(found)
        return [Leased(uuid.uuid5(uuid.NAMESPACE_URL, url), "ana", url, True, self.tries[url]) for url in found]

    async def outlook(self) -> tuple[bool, float | None]:
        self.looked += 1
        return True, None

    async def waiting(self, leased: Leased, most: int) -> tuple[list[OutgoingEvent], int] | None:
        return self.waiting_for[leased.url][:most], self.position

    async def had(self, leased: Leased, event: OutgoingEvent, lease_seconds: float) -> bool:
        self.waiting_for[leased.url].remove(event)
        self.tries[leased.url] = 0
        return True

    async def given_up(self, leased: Leased, event: OutgoingEvent, error: str, lease_seconds: float) -> bool:
        self.ends.append(("given up", error))
        self.waiting_for[leased.url].remove(event)
        return True

    async def failed(self, leased: Leased, event: OutgoingEvent, error: str, wait_seconds: float) -> None:
        self.ends.append(("failed", error))
        self.tries[leased.url] += 1
        self.due[leased.url] = asyncio.get_running_loop().time() + wait_seconds
        self.leased.discard(leased.url)

    async def rest(self, leased: Leased, seen: int) -> bool:
        self.leased.discard(leased.url)
        return False

    async def give_back(self, leased: Leased) -> None:
        self.leased.discard(leased.url)

    async def gone(self, leased: Leased) -> None:
        self.ends.append(("gone", leased.url))
        self.waiting_for[leased.url].clear()

    async def expire(self, age: timedelta, most: int) -> int:
        return 0

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        assert verify(SECRET, headers, body, datetime.now(UTC).timestamp()) == headers["webhook-id"]
        self.at_once[url] += 1
        assert self.at_once[url] == 1, "one event at a time"
        self.told.append((url, headers["webhook-id"]))
        try:
            if url in self.slow:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            return self.answers(url, sum(one == url for one, _ in self.told))
        finally:
            self.at_once[url] -= 1


def delivering(house: House, body: Callable[[OutgoingEvent], Any] | None = None) -> Delivering:
    async def plain(event: OutgoingEvent) -> bytes:
        return body(event) if body else str(event.position).encode()

    return Delivering(house, house, plain, lambda _: SECRET, LIMITS)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def ids_of(house: House, url: str) -> list[str]:
    return [id_ for one, id_ in house.told if one == url]


async def test_each_is_told_in_order_and_the_rest_go_on_while_one_is_slow() -> None:
    house = House(slow=frozenset({"slow"}))
    for _ in range(3):
        house.ended("slow")
    wanted = [str(house.ended("quick")) for _ in range(50)]
    task = delivering(house)
    task.start()
    await until(lambda: len(ids_of(house, "quick")) == 50)
    assert ids_of(house, "quick") == wanted and len(ids_of(house, "slow")) == 1
    await task.stop(0.01)
    assert "slow" not in house.leased and len(house.waiting_for["slow"]) == 3


async def test_what_failed_is_told_again_with_the_same_id_and_nothing_before_it() -> None:
    house = House(answers=lambda _url, try_: Answer(200, "") if try_ > 3 else Answer(500, "answered 500"))
    first, second = str(house.ended("a")), str(house.ended("a"))
    task = delivering(house)
    task.start()
    await until(lambda: not house.waiting_for["a"])
    await task.stop(1)
    assert ids_of(house, "a") == [first] * 4 + [second]
    assert house.ends == [("failed", "answered 500")] * 3


async def test_a_run_that_ends_is_told_at_once() -> None:
    house = House()
    task = Delivering(
        house, house, lambda _: asyncio.sleep(0, b"x"), lambda _: SECRET,
        DeliveryLimits(LIMITS.retrying, 10, 4, 3600, LIMITS.retention, 100),
    )  # fmt: skip
    task.start()
    await until(lambda: house.looked > 0)  # it would look again in an hour
    house.ended("a")
    task.run_ended()
    await until(lambda: not house.waiting_for["a"])
    await task.stop(1)


@pytest.mark.parametrize(
    ("status", "is_callback", "end"),
    [(410, False, ("gone", "a")), (410, True, ("given up", "words")), (500, True, ("given up", "words"))],
)
async def test_what_has_gone_and_what_waited_too_long_is_not_told_again(
    status: int, is_callback: bool, end: tuple[str, str]
) -> None:
    house = House(answers=lambda _url, _try: Answer(status, "words"))
    house.ended("a", is_callback=is_callback)
    task = delivering(house)
    task.start()
    await until(lambda: bool(house.ends))
    await task.stop(1)
    assert house.ends == [end] and len(house.told) == 1


async def test_an_event_that_cannot_be_written_stops_neither_the_task_nor_others() -> None:
    house = House()
    house.ended("a")
    broken = house.position
    house.ended("b")

    def body(event: OutgoingEvent) -> bytes:
        if event.position == broken:
            raise RuntimeError("no such thing")
        return b"x"

    task = delivering(house, body)
    task.start()
    await until(lambda: not house.waiting_for["b"] and len(house.ends) > 1)
    await task.stop(1)
    assert house.ends[0][0] == "failed" and not ids_of(house, "a")


async def test_a_database_that_is_away_is_waited_for() -> None:
    house = House(away=3)
    house.ended("a")
    task = delivering(house)
    task.start()
    await until(lambda: not house.waiting_for["a"])
    await task.stop(1)
    assert len(house.told) == 1
