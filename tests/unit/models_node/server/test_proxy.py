"""What the proxy makes of connections that fail before a reply, with nothing but a socket's path."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import cast

import pytest

from models_node.catalogue import ModelEntry
from models_node.residency.decide import Priority
from models_node.residency.messages import Lease
from models_node.residency.pool import Pool
from models_node.routing.router import Route
from models_node.server.backends import Backends
from models_node.server.exchange import Forward, Proxy, ReplyLimits
from models_node.server.waiting import WaitingTimes
from wire.errors import UpstreamFailed

ENTRY = ModelEntry(id="a", domain="general", description="", context_length=1, weights="w", memory_estimate=1)

LIMITS = ReplyLimits(WaitingTimes(1, 1), 1)


class OneLease:
    """A pool with one engine, which notes what it is told of it."""

    def __init__(self, socket: Path) -> None:
        self.given = Lease("a", socket, 0.0, 0.0, lambda: None, 1)
        self.told: list[Lease] = []

    def lease(self, model: str, priority: Priority) -> OneLease:
        return self

    async def __aenter__(self) -> Lease:
        return self.given

    async def __aexit__(self, *_: object) -> None:
        pass

    def broken(self, lease: Lease) -> None:
        self.told.append(lease)


async def ask(pool: OneLease) -> None:
    backends = Backends()
    route = Route("a", "general", "asked")
    forward = Forward("/v1/chat/completions", "chat", b"{}", False, route, ENTRY, time.perf_counter())
    try:
        async with asyncio.timeout(5), Proxy(cast(Pool, pool), backends, LIMITS).exchange(forward) as exchange:
            await exchange.whole()
    finally:
        await backends.close()


async def test_the_pool_hears_of_an_engine_that_takes_no_connection(tmp_path: Path) -> None:
    pool = OneLease(tmp_path / "gone")
    with pytest.raises(UpstreamFailed) as error:
        await ask(pool)
    assert error.value.code == "engine_died" and pool.told == [pool.given]


@pytest.mark.parametrize(("said", "told"), [(b"", True), (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", False)])
async def test_and_of_one_that_ends_before_its_reply_but_not_in_the_middle_of_one(
    tmp_path: Path, said: bytes, told: bool
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(said)
        writer.close()

    pool = OneLease(tmp_path / "http")
    server = await asyncio.start_unix_server(answer, pool.given.socket)
    try:
        with pytest.raises(UpstreamFailed):
            await ask(pool)
    finally:
        server.close()
        await server.wait_closed()
    assert bool(pool.told) is told
