"""`/mcp` as an ASGI application: the request's context for the handlers, sessions within their number."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser, AuthorizationContext
from mcp.server.auth.provider import AccessToken
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.streamable_http import GET_STREAM_KEY, MCP_SESSION_ID_HEADER, StreamableHTTPServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.subscriptions import ListenHandler, SubscriptionBus
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER
from mcp_types import INTERNAL_ERROR, SubscriptionsListenRequestParams, SubscriptionsListenResult
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from services_node.mcp_protocol.sharing import Held, gives_way, share_of
from stack.settings import Settings
from wire.context import RequestContext, current, enter
from wire.trace import TraceContext

PATH = "/mcp"
SCOPE_CONTEXT = "capibara6.context"  # of the request, for handlers that run in a task of the SDK's
LAST_WORDS_SECONDS = 1.0  # for the answers of calls that a stop ends
POLL_SECONDS = 0.02  # while sessions finish their answers
_ROUTE = SimpleNamespace(path=PATH)  # for the border's metrics


class _SharedSessions(StreamableHTTPSessionManager):
    """The SDK's sessions, of which one principal holds its share at most (503 beyond, as where all are in use)."""

    def _admit_session(self, requestor: AuthorizationContext | None) -> StreamableHTTPServerTransport | None:
        held = sum(owner == requestor for owner in self._session_owners.values())
        if self.max_sessions is not None and held >= share_of(self.max_sessions):
            return None
        return super()._admit_session(requestor)

    def held(self) -> list[Held]:
        """In the order in which they were opened."""
        return [
            Held(name, self._session_owners[name]["client_id"], not _answering(one), _idle_until(one))
            for name, one in self._server_instances.items()
        ]


class McpEndpoint:
    """Both eras: one request at a time (2026-07-28), or sessions (2025-11-25), each its principal's own."""

    def __init__(self, server: Server[Any], settings: Settings) -> None:
        self._sessions = _SharedSessions(
            server,
            session_idle_timeout=settings.mcp_session_idle_seconds,
            max_request_body_size=settings.max_body_bytes,
            max_sessions=settings.mcp_sessions,
        )
        self._most = settings.mcp_sessions

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """To be held open while the service runs."""
        async with self._sessions.run():
            yield

    @property
    def sessions(self) -> int:
        """Open ones."""
        return len(self._sessions._server_instances)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = current()
        scope["route"] = _ROUTE
        scope[SCOPE_CONTEXT] = context
        # RFC 9110 §5.5: the space around a value is no part of it; the HTTP parser leaves what follows it, and the
        # protocol compares values with the body's.
        scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        # The SDK answers 404 to a session that another user opened.
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=context.principal.name, scopes=[]))
        if _opens_session(scope):
            # Sessions that were opened and left, some with their stream of notifications still open, must not keep
            # others out. (The SDK itself can only refuse.)
            ended = gives_way(self._sessions.held(), context.principal.name, self._most)
            if ended is not None:
                await self._end(ended)
        await self._sessions.handle_request(scope, receive, send)

    async def close_sessions(self, seconds: float) -> None:
        """Ends every session, its open streams with it; those that are answering, when they have or after `seconds`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while names := list(self._sessions._server_instances):
            late = loop.time() >= until
            for name in names:
                if late or not _answering(self._sessions._server_instances[name]):
                    await self._end(name)
            if late:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _end(self, name: str) -> None:
        transport = self._sessions._server_instances.get(name)
        if transport is not None:
            await self._sessions._discard_session(name, transport)


def _answering(transport: StreamableHTTPServerTransport) -> bool:
    """Whether it has a request in hand; an open stream of notifications is none."""
    return transport._requests_in_flight > (GET_STREAM_KEY in transport._request_streams)


def _idle_until(transport: StreamableHTTPServerTransport) -> float | None:
    """By the loop's clock; None for one with an open stream."""
    return transport.idle_scope.deadline if transport.idle_scope and not transport._requests_in_flight else None


def _opens_session(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    version = headers.get(MCP_PROTOCOL_VERSION_HEADER)
    modern = version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS
    return not modern and MCP_SESSION_ID_HEADER not in headers


def entered(ctx: ServerRequestContext[Any, Any]) -> RequestContext:
    """The request's context, made current in a session's task too.

    The `traceparent` of `_meta` wins over the header: between the two there may be a proxy.
    """
    scope = getattr(ctx.request, "scope", {})
    known: RequestContext = scope.get(SCOPE_CONTEXT) or current()
    said = ((ctx.params or {}).get("_meta") or {}).get("traceparent")
    known = replace(known, trace=known.trace.unless(TraceContext.parse(said) if isinstance(said, str) else None))
    enter(known)
    return known


class SharedListen(ListenHandler):
    """The streams of changes of 2026-07-28: at most `most`, and half of them for one principal."""

    def __init__(self, bus: SubscriptionBus, *, most: int) -> None:
        super().__init__(bus, max_subscriptions=most)
        self._share = share_of(most)
        self._held: Counter[str] = Counter()

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        name = entered(ctx).principal.name
        if self._held[name] >= self._share:
            raise MCPError(INTERNAL_ERROR, f"{self._share} streams of changes are open for {name}, as many as may be")
        self._held[name] += 1
        try:
            return await super().__call__(ctx, params)
        finally:
            self._held[name] -= 1
            if not self._held[name]:
                del self._held[name]
