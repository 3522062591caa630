"""The race of a stop with a connection that fails at that very moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp.server.subscriptions import InMemorySubscriptionBus

from services_node.mcp_server.external import ExternalServers, _Link
from services_node.mcp_server.external_settings import ExternalServer
from stack.settings import Settings


async def test_a_connection_that_fails_while_it_is_being_ended_does_not_hold_up_the_stop(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()

    @asynccontextmanager
    async def failing(link: _Link) -> AsyncIterator[Any]:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OSError("the end became a failure") from None
        yield None

    monkeypatch.setattr(_Link, "_connection", failing)
    server = ExternalServer.model_validate({"url": "http://127.0.0.1:1/mcp", "allowed_tools": ["*"]})
    servers = ExternalServers({"other": server}, Settings(home=tmp_path), InMemorySubscriptionBus())
    async with servers.run():
        await waiting.wait()
        before = len(asyncio.all_tasks())
    assert len(asyncio.all_tasks()) == before - 1
    assert servers.health() == {"other": "connecting"}
