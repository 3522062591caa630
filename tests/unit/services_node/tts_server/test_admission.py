"""Places: so many at once, first come first served, and none is ever lost."""

from __future__ import annotations

import asyncio

import pytest

from services_node.tts_server.admission import Places
from wire.errors import ApiError


class Asker:
    """One who wants a place, and leaves when it is told to."""

    def __init__(self, places: Places) -> None:
        self.inside = False
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._ask(places))

    async def _ask(self, places: Places) -> None:
        async with places.place():
            self.inside = True
            await self.leave.wait()


async def settled() -> None:
    """Until what can happen now has."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_they_come_in_the_order_in_which_they_asked() -> None:
    places = Places(2, 10, 60)
    askers = [Asker(places) for _ in range(4)]
    await settled()
    assert [one.inside for one in askers] == [True, True, False, False] and (places.taken, places.waiting) == (2, 2)
    askers[1].leave.set()
    await settled()
    assert [one.inside for one in askers] == [True, True, True, False]
    for one in askers:
        one.leave.set()
    await asyncio.gather(*(one.task for one in askers))
    assert (places.taken, places.waiting) == (0, 0)


async def test_a_newcomer_does_not_overtake_one_who_waits() -> None:
    places = Places(1, 10, 60)
    first, second = Asker(places), Asker(places)
    await settled()
    first.leave.set()
    third = Asker(places)
    await settled()
    assert second.inside and not third.inside
    for one in (second, third):
        one.leave.set()
    await asyncio.gather(second.task, third.task)


async def test_beyond_the_queue_one_is_told_when_to_come_again() -> None:
    places = Places(1, 1, 60)
    askers = [Asker(places), Asker(places)]
    await settled()
    with pytest.raises(ApiError) as full:
        async with places.place():
            raise AssertionError("there was no place")
    assert (full.value.status, full.value.code) == (429, "queue_full")
    assert full.value.retry_after_seconds == places.retry_after_seconds() >= 1
    for one in askers:
        one.leave.set()
    await asyncio.gather(*(one.task for one in askers))


async def test_waiting_has_an_end_and_leaves_nothing() -> None:
    places = Places(1, 5, 0.001)
    first = Asker(places)
    await settled()
    with pytest.raises(ApiError) as over:
        async with places.place():
            raise AssertionError("there was no place")
    assert (over.value.status, over.value.code) == (503, "queue_wait_over") and not places.waiting
    first.leave.set()
    await first.task
    assert not places.taken


@pytest.mark.parametrize("waiting", [True, False])
async def test_whoever_is_cancelled_gives_its_place_back_at_once(waiting: bool) -> None:
    places = Places(1, 5, 60)
    askers = [Asker(places) for _ in range(3)]
    await settled()
    askers[1 if waiting else 0].task.cancel()
    await settled()
    assert askers[0].inside and askers[1].inside is not waiting
    assert places.waiting == 1 and places.taken == 1
    for one in askers:
        one.leave.set()
    await asyncio.gather(*(one.task for one in askers), return_exceptions=True)
    assert (places.taken, places.waiting) == (0, 0)


async def test_one_cancelled_in_the_moment_it_is_given_a_place_passes_it_on() -> None:
    places = Places(1, 5, 60)
    async with places.place():
        second, third = Asker(places), Asker(places)
        await settled()
    # Nothing has run since: the place is the second's now, who has not woken up yet.
    second.task.cancel()
    await settled()
    assert third.inside and not second.inside
    third.leave.set()
    await third.task
    assert places.taken == 0


async def test_how_long_it_usually_takes_is_learnt() -> None:
    now = [0.0]
    places = Places(1, 5, 60, clock=lambda: now[0])
    guessed = places.retry_after_seconds()
    for _ in range(30):
        async with places.place():
            now[0] += 20
    assert guessed < places.retry_after_seconds() == pytest.approx(20, rel=0.05)
