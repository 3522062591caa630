"""The same key with the same request has one answer."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from models_node.sandbox.gateway import idempotency
from models_node.sandbox.gateway.idempotency import Keys
from models_node.sandbox.gateway.limits import KEY_SECONDS
from wire.errors import ApiError, Unavailable


class Maker:
    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.go = asyncio.Event()
        self.fails = False

    async def __call__(self) -> dict[str, int]:
        number = next(self.numbers)
        await self.go.wait()
        if self.fails:
            raise Unavailable("none")
        return {"made": number}


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def keys(now: list[float]) -> Keys:
    return Keys(lambda: now[0])


async def test_the_same_request_is_done_once_also_at_the_same_time(keys: Keys) -> None:
    make = Maker()
    both = [asyncio.create_task(keys.once("ana", "k", b"body", make)) for _ in range(2)]
    await asyncio.sleep(0)
    make.go.set()
    assert await asyncio.gather(*both) == [{"made": 1}, {"made": 1}]
    assert await keys.once("ana", "k", b"body", make) == {"made": 1}


async def test_another_request_with_the_key_is_refused(keys: Keys) -> None:
    make = Maker()
    make.go.set()
    await keys.once("ana", "k", b"body", make)
    with pytest.raises(ApiError) as refused:
        await keys.once("ana", "k", b"other", make)
    assert refused.value.status == 422


async def test_keys_belong_to_their_owner(keys: Keys) -> None:
    make = Maker()
    make.go.set()
    await keys.once("ana", "k", b"body", make)
    assert await keys.once("ben", "k", b"other", make) == {"made": 2}


async def test_a_client_that_leaves_does_not_end_what_it_began(keys: Keys) -> None:
    make = Maker()
    first = asyncio.create_task(keys.once("ana", "k", b"body", make))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    make.go.set()
    assert await keys.once("ana", "k", b"body", make) == {"made": 1}


async def test_a_failure_is_not_remembered(keys: Keys) -> None:
    make = Maker()
    make.go.set()
    make.fails = True
    with pytest.raises(Unavailable):
        await keys.once("ana", "k", b"body", make)
    make.fails = False
    assert await keys.once("ana", "k", b"body", make) == {"made": 2}


async def test_a_key_is_forgotten_after_its_time(keys: Keys, now: list[float]) -> None:
    make = Maker()
    make.go.set()
    await keys.once("ana", "k", b"body", make)
    now[0] += KEY_SECONDS
    assert await keys.once("ana", "k", b"other", make) == {"made": 2}


async def test_only_so_many_keys_are_kept(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "KEYS_KEPT", 3)
    make = Maker()
    make.go.set()
    for number in range(10):
        await keys.once("ana", f"k{number}", b"body", make)
    assert await keys.once("ana", "k9", b"body", make) == {"made": 10}
    stuck = Maker()
    under_way = [asyncio.create_task(keys.once("ana", f"s{number}", b"", stuck)) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as refused:
        await keys.once("ana", "one-more", b"", make)
    assert refused.value.status == 409
    await keys.close()
    await asyncio.gather(*under_way, return_exceptions=True)


@pytest.mark.parametrize("key", ["", "x" * 256, "ñ", "a\nb"])
async def test_a_key_is_printable_and_short(keys: Keys, key: str) -> None:
    with pytest.raises(ApiError) as refused:
        await keys.once("ana", key, b"", Maker())
    assert refused.value.status == 400
