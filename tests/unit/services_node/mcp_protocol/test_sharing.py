"""Who gives way when sessions and streams of changes run out."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, authorization_context
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel.server import Server
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp_types import SubscriptionFilter, SubscriptionsListenRequestParams

from services_node.mcp_protocol.endpoint import SCOPE_CONTEXT, SharedListen, _SharedSessions
from services_node.mcp_protocol.sharing import Held, gives_way
from wire.context import RequestContext
from wire.ids import uuid7
from wire.principals import Principal
from wire.trace import TraceContext


def held(name: str, *, idle: float | None = 1.0, free: bool = True) -> Held:
    return Held(name, name[0], free, idle)


def test_who_asks_gives_way_first() -> None:
    sessions = [held("b1", idle=1), held("a1", idle=9), held("a2", idle=5), held("c1", idle=2)]
    assert gives_way(sessions, "a", 4) == "a2"
    assert gives_way(sessions, "a", 9) is None


def test_nobody_holds_more_than_half() -> None:
    sessions = [held("a1", idle=None), held("a2"), held("b1")]
    assert gives_way(sessions, "a", 4) == "a2"
    assert gives_way(sessions, "b", 4) is None
    busy = [held("a1", free=False), held("a2", free=False), held("b1")]
    assert gives_way(busy, "a", 4) is None  # and it is refused: what is another's stays


def test_of_others_who_holds_most_gives_way() -> None:
    sessions = [held("b1", idle=1), held("c1", idle=None), held("c2", idle=None), held("d1", idle=1)]
    assert gives_way(sessions, "a", 4) == "c1"
    assert gives_way([held("b1", free=False), held("c1", free=False)], "a", 2) is None


async def test_a_session_beyond_a_principals_share_is_refused_however_many_are_asked_for_at_once() -> None:
    sessions = _SharedSessions(Server("x"), max_sessions=4)
    ana, bea = (authorization_context(AuthenticatedUser(AccessToken(token="", client_id=n, scopes=[]))) for n in "ab")
    assert [sessions._admit_session(ana) is not None for _ in range(3)] == [True, True, False]
    assert [sessions._admit_session(bea) is not None for _ in range(3)] == [True, True, False]
    assert [one.owner for one in sessions.held()] == ["a", "a", "b", "b"]


async def test_one_principal_holds_half_of_the_streams_of_changes() -> None:
    listen = SharedListen(InMemorySubscriptionBus(), most=4)

    async def streams(name: str) -> asyncio.Task[Any]:
        told = asyncio.Event()

        async def send(*_: Any, **__: Any) -> None:
            told.set()

        asking = RequestContext(uuid7(), TraceContext.new(), Principal(name))
        context: Any = SimpleNamespace(
            request=SimpleNamespace(scope={SCOPE_CONTEXT: asking}),
            params={},
            request_id=1,
            session=SimpleNamespace(send_notification=send),
        )
        params = SubscriptionsListenRequestParams(notifications=SubscriptionFilter(tools_list_changed=True))
        task = asyncio.create_task(listen(context, params))
        waiting = asyncio.create_task(told.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return task

    first = [await streams("a") for _ in range(2)]
    with pytest.raises(MCPError, match="as many as may be"):
        await (await streams("a"))
    others = [await streams("b") for _ in range(2)]
    first[0].cancel()
    await asyncio.gather(first[0], return_exceptions=True)
    first[0] = await streams("a")
    assert not any(one.done() for one in [*first, *others])
    listen.close()
    await asyncio.gather(*first, *others)
