"""The data plane: requests that name a sandbox. Path, sandbox, token and place are checked here; the rest is passed on.

Whether a request may pass is decided in this order: a route that clients have, a sandbox that runs, its token, a place
among its connections. What is told before the token was seen is the same for everyone.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from models_node.sandbox.errors import (
    not_offered,
    signed_urls_refused,
    too_many_connections,
    wrong_token,
)
from models_node.sandbox.gateway import metrics, shapes
from models_node.sandbox.gateway.limits import CONNECTIONS_PER_SANDBOX
from models_node.sandbox.gateway.passage import Passage, PassageLimits
from models_node.sandbox.gateway.records import Claim
from models_node.sandbox.gateway.routes import ENVD_PORT, INTERPRETER_PORT, Kind, Route, route_of
from models_node.sandbox.gateway.sandboxes import Sandboxes
from wire.errors import ApiError, InvalidRequest, NotFound

SANDBOX_ID = b"e2b-sandbox-id"
ENVD_HEADER = "X-Access-Token"
TRAFFIC_HEADER = "E2B-Traffic-Access-Token"
QUERY = re.compile(rb"[\x21-\x7e]{0,8192}")


@dataclass(frozen=True, slots=True)
class NamedRoute:
    """What the border's metrics call the request."""

    path: str


def names_sandbox(scope: Scope) -> bool:
    """Such requests bring their sandbox's token and no key, and have limits of their own."""
    return any(name == SANDBOX_ID for name, _ in scope["headers"])


class DataPlane:
    def __init__(self, app: ASGIApp, sandboxes: Sandboxes, limits: PassageLimits) -> None:
        self._app = app
        self._sandboxes = sandboxes
        self._limits = limits
        self._open: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not names_sandbox(scope):
            await self._app(scope, receive, send)
            return
        try:
            await self._answer(scope, receive, send)
        except ApiError as error:
            metrics.refused(error.code)
            response = shapes.error_response(error)
            if may_go_on(scope):
                response.headers["connection"] = "close"
            await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        sandbox_id, port = headers["e2b-sandbox-id"], headers.get("e2b-sandbox-port", "")
        if len(headers.getlist("e2b-sandbox-id")) > 1 or len(sandbox_id) > 64:
            raise InvalidRequest("E2b-Sandbox-Id: one sandbox.")
        route = self._route(scope, port)
        sandbox, socket = self._sandboxes.find(sandbox_id), self._sandboxes.socket(sandbox_id)
        if sandbox is None or sandbox.claim is None or socket is None:
            metrics.refused("sandbox_gone")
            await shapes.gone_response(sandbox_id, self._why(sandbox_id))(scope, receive, send)
            return
        if route is None:
            await shapes.port_response(sandbox_id, port)(scope, receive, send)
            return
        check_tokens(headers, route, sandbox.claim)
        if self._open[sandbox_id] >= CONNECTIONS_PER_SANDBOX:
            raise too_many_connections(CONNECTIONS_PER_SANDBOX)
        if route.kind is Kind.EXECUTE:
            metrics.executed()
        passage = Passage(route, socket, self._limits, lambda: self._end_of(sandbox_id))
        self._open[sandbox_id] += 1
        try:
            answered = await passage.run(scope, receive, send)
        finally:
            self._open[sandbox_id] -= 1
            if not self._open[sandbox_id]:
                del self._open[sandbox_id]
        if not answered:
            why = self._end_of(sandbox_id)
            gone = shapes.port_response(sandbox_id, port) if why is None else shapes.gone_response(sandbox_id, why)
            await gone(scope, receive, send)

    def _route(self, scope: Scope, port: str) -> Route | None:
        """None for a port that nobody listens on. Raises ApiError for a path that is not for clients."""
        if port not in (ENVD_PORT, INTERPRETER_PORT):
            return None
        scope["route"] = NamedRoute(f"sandbox {port}")
        route = route_of(port, scope["method"], scope["path"])
        if route is None:
            raise NotFound("The sandbox has no such route.", code="no_such_route")
        scope["route"] = NamedRoute(f"sandbox {port} {route.name}")
        query: bytes = scope["query_string"]
        if not QUERY.fullmatch(query):
            raise InvalidRequest("The query is malformed or too long.")
        if b"signature=" in query:
            raise signed_urls_refused()
        if any(name == b"upgrade" for name, _ in scope["headers"]):
            raise not_offered("Upgrading a connection to a sandbox")
        return route

    def _why(self, sandbox_id: str) -> str | None:
        gone = self._sandboxes.gone(sandbox_id)
        return gone.why.value if gone is not None else None

    def _end_of(self, sandbox_id: str) -> str | None:
        """What ended the sandbox; None while it runs."""
        return None if self._sandboxes.find(sandbox_id) else self._why(sandbox_id) or "it ended"


def may_go_on(scope: Scope) -> bool:
    """Whether a client may still send a body that nobody wants: its connection is not kept for that."""
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def check_tokens(headers: Headers, route: Route, claim: Claim) -> None:
    """Raises Unauthorized. Both are compared, whatever the first one said."""
    envd = not route.envd_token or _same(headers.get(ENVD_HEADER), claim.envd_token)
    traffic = not route.traffic_token or _same(headers.get(TRAFFIC_HEADER), claim.traffic_token)
    if not envd:
        raise wrong_token(ENVD_HEADER)
    if not traffic:
        raise wrong_token(TRAFFIC_HEADER)


def _same(given: str | None, known: str) -> bool:
    return hmac.compare_digest((given or "").encode(), known.encode())
