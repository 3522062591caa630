"""The HTTP border every service shares: keys, hosts and pages, run ids, traces, limits, error shapes, metrics, log.

One pure ASGI middleware, so that streams pass untouched and a token costs nothing here.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import keys_needed, load_topology
from wire import telemetry
from wire.admission import Admission, admission
from wire.context import (
    ON_BEHALF_HEADER,
    PARENT_RUN_HEADER,
    RUN_ID_HEADER,
    TRACE_HEADER,
    N8nExecution,
    RequestContext,
    enter,
)
from wire.errors import (
    ApiError,
    Forbidden,
    InternalError,
    InvalidRequest,
    TooLarge,
    Unauthorized,
    ValidationFailed,
    error_of,
    openai_response,
    problem_response,
)
from wire.health import ReadinessCheck, install_health
from wire.ids import parse_run_id, uuid7
from wire.principals import ANONYMOUS, LOCAL, KeyRing, Principal
from wire.trace import TraceContext

log = logging.getLogger("wire.border")

REQUESTS = Counter("http_server_requests", "Requests answered.", ["service", "method", "route", "status"])
DURATION = Histogram(
    "http_server_request_duration_seconds",
    "From the first byte read to the last byte sent.",
    ["service", "method", "route"],
)
ACTIVE = Gauge("http_server_active_requests", "Requests being answered.", ["service"])

Render = Callable[[ApiError], Response]

CLIENT_GONE = 499  # nginx's number for it
_PASSED_ON = {"/health/live", "/health/ready", "/metrics"}
_PRINCIPAL_NAME = re.compile(r"[a-z0-9][a-z0-9_.@-]{0,99}")


@dataclass(frozen=True, slots=True)
class BorderRules:
    """What the border asks of a request.

    keys: None where no key is asked for. larger_bodies: bytes for the paths that take more. openai_paths: prefixes
    whose errors have OpenAI's shape. open_paths: prefixes answered without a key. confined: principals whose key opens
    only the paths that begin so; others' open all. acting_for: principals that may say on whose behalf they ask.
    render: the shape of every error, for a service that speaks another's protocol. unguarded: requests that the service
    itself checks the credentials and bounds the body of. admission: by which names the service may be called and by
    which pages; None where that is not asked: a page brings no key, as no cookie is one.
    """

    service: str
    keys: KeyRing | None
    max_body_bytes: int
    larger_bodies: Mapping[str, int]
    openai_paths: tuple[str, ...]
    open_paths: tuple[str, ...]
    confined: Mapping[str, tuple[str, ...]]
    acting_for: frozenset[str] = frozenset()
    render: Render | None = None
    unguarded: Callable[[Scope], bool] | None = None
    admission: Admission | None = None

    def error_response(self, path: str, error: ApiError) -> Response:
        if self.render is not None:
            return self.render(error)
        render = openai_response if path.startswith(self.openai_paths) else problem_response
        return render(error)


class Border:
    def __init__(self, app: ASGIApp, rules: BorderRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rules, path, started = self._rules, scope["path"], time.perf_counter()
        began_ns = time.time_ns() if telemetry.on() and path not in _PASSED_ON else 0
        headers = Headers(scope=scope)
        trace = TraceContext.parse(headers.get(TRACE_HEADER))
        run_id = parse_run_id(headers.get(RUN_ID_HEADER)) or uuid7()
        span = trace.child() if trace else TraceContext.new()
        status = 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                reply = MutableHeaders(scope=message)
                reply.setdefault(RUN_ID_HEADER, str(run_id))  # a reply about an earlier run has that one's
                reply[TRACE_HEADER] = span.header
            await send(message)

        try:
            with ACTIVE.labels(rules.service).track_inprogress():
                try:
                    unguarded = rules.unguarded is not None and rules.unguarded(scope)
                    self._admit(path, headers, unguarded)
                    if unguarded:
                        enter(RequestContext(run_id, span, ANONYMOUS))
                        await self._app(scope, receive, send_marked)
                    else:
                        principal = self._principal(path, headers)
                        parent = parse_run_id(headers.get(PARENT_RUN_HEADER))
                        enter(RequestContext(run_id, span, principal, parent, N8nExecution.told(headers)))
                        body = _LimitedBody(receive, self._limit(path, headers))
                        await self._app(scope, body.receive, body.refusing(send_marked, scope, rules))
                except ApiError as error:
                    if status:
                        raise  # the reply has begun: whoever streams tells its own errors
                    await rules.error_response(path, error)(scope, receive, send_marked)
                except ClientDisconnect:
                    status = status or CLIENT_GONE  # for the log: it left while its body was being read
                except Exception:
                    log.exception("unhandled error", extra={"path": path})
                    if status:
                        raise
                    told = InternalError("The service failed unexpectedly; the run id finds it in the logs.")
                    await rules.error_response(path, told)(scope, receive, send_marked)
        finally:
            self._record(scope, status, time.perf_counter() - started)
            if began_ns:
                _tell_span(scope, span, trace, began_ns=began_ns, status=status, run_id=run_id)

    def _admit(self, path: str, headers: Headers, unguarded: bool) -> None:
        """Whoever asks for an open path needs no name; an unguarded request has no such path, whatever it is called."""
        if self._rules.admission is None or (path.startswith(self._rules.open_paths) and not unguarded):
            return
        self._rules.admission.check(headers.get("host"), headers.get("origin"))

    def _principal(self, path: str, headers: Headers) -> Principal:
        if self._rules.keys is None:
            return LOCAL
        if path.startswith(self._rules.open_paths):
            return ANONYMOUS
        scheme, _, token = headers.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        if not key:
            raise Unauthorized(
                "This address asks for a key: send `Authorization: Bearer <key>`.", code="missing_api_key"
            )
        principal = self._rules.keys.principal(key)
        if principal is None:
            raise Unauthorized("The key is not one this service knows.")
        within = self._rules.confined.get(principal.name)
        if within is not None and not path.startswith(within):
            raise Forbidden(f"The key of {principal.name!r} does not open this address.")
        return self._acted_for(principal, headers)

    def _acted_for(self, principal: Principal, headers: Headers) -> Principal:
        """Whose request this is: the key's own, or the one that a service with that right names."""
        name = headers.get(ON_BEHALF_HEADER)
        if name is None:
            return principal
        if principal.name not in self._rules.acting_for:
            raise Forbidden(f"The key of {principal.name!r} may not ask on behalf of others ({ON_BEHALF_HEADER}).")
        if not _PRINCIPAL_NAME.fullmatch(name):
            raise InvalidRequest(f"{ON_BEHALF_HEADER} names nobody: lowercase letters, digits and `_.@-`, at most 100.")
        return Principal(name)

    def _limit(self, path: str, headers: Headers) -> int:
        """Bytes this request may have. Raises at once for one that says it has more."""
        limit = self._rules.larger_bodies.get(path, self._rules.max_body_bytes)
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise InvalidRequest("Content-Length is not a number.")
        if int(length) > limit:
            raise _too_large(limit)
        return limit

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = _route(scope) or "unmatched"
        method, service = scope["method"], self._rules.service
        REQUESTS.labels(service, method, route, str(status)).inc()
        DURATION.labels(service, method, route).observe(seconds)
        quiet = scope["path"] in _PASSED_ON and status < 500
        log.log(
            logging.DEBUG if quiet else logging.INFO,
            "request",
            extra={
                "method": method,
                "path": scope["path"],
                "status": status,
                "duration_ms": round(seconds * 1000, 1),
            },
        )


class _LimitedBody:
    """Reads a body up to its limit. Frameworks turn an exception in the middle of reading into an error of their own,
    so the refusal is remembered, and takes the place of whatever reply they come to.
    """

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._read = 0
        self._refused = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            if self._read > self._limit:
                self._refused = True
                raise _too_large(self._limit)
        return message

    def refusing(self, send: Send, scope: Scope, rules: BorderRules) -> Send:
        async def send_or_refuse(message: Message) -> None:
            if not self._refused:
                await send(message)
            elif message["type"] == "http.response.start":
                await rules.error_response(scope["path"], _too_large(self._limit))(scope, self._receive, send)

        return send_or_refuse


def _tell_span(
    scope: Scope, span: TraceContext, caller: TraceContext | None, *, began_ns: int, status: int, run_id: uuid.UUID
) -> None:
    """The server span of a request: the id that the reply's `traceparent` told, part of the caller's span."""
    route = _route(scope)
    telemetry.record(
        f"{scope['method']} {route or scope['path']}",
        span,
        parent=caller.span_id if caller else None,
        kind="server",
        began_ns=began_ns,
        attributes={
            "http.request.method": scope["method"],
            "http.route": route,
            "url.path": scope["path"],
            "http.response.status_code": status or CLIENT_GONE,
            "capibara6.run_id": str(run_id),
        },
        error=str(status) if status >= 500 else None,
    )


def _route(scope: Scope) -> str | None:
    path: str | None = getattr(scope.get("route"), "path", None)
    return path


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is larger than {limit} bytes, the limit here (docs/settings.md: CAPIBARA6_MAX_…_BYTES).")


def install_border(
    app: FastAPI,
    *,
    service: str,
    settings: Settings,
    secrets: Secrets | None,
    allowed: set[str],
    readiness: ReadinessCheck,
    openai_paths: Sequence[str] = ("/v1/",),
    open_paths: Sequence[str] = ("/health",),
    confined: Mapping[str, Sequence[str]] | None = None,
    acting_for: Set[str] = frozenset(),
    admits_with_keys: bool = False,
    larger_bodies: Mapping[str, int] | None = None,
    render: Render | None = None,
    unguarded: Callable[[Scope], bool] | None = None,
) -> None:
    """Puts the border around `app`, with its error handlers, `/health/live`, `/health/ready` and `/metrics`.

    allowed: principals (frontend, n8n, operator, sandbox, services) whose keys open this service; confined: those of
    them whose keys open only the paths that begin so; acting_for: those that may name another principal as the one who
    asks (`x-capibara6-on-behalf-of`; nobody is listened to where no keys are asked for). admits_with_keys: `Host` and
    `Origin` are checked also where keys are asked for; without keys they always are. render, unguarded: as BorderRules
    says. Raises Unauthorized at once when this address needs keys and there are no secrets, ConfigurationError for
    allowed origins that are none.
    """
    keys: KeyRing | None = None
    if keys_needed(settings, service):
        if secrets is None:
            raise Unauthorized(f"{service} listens beyond this machine and has no keys: run ./capibara6 up once")
        keys = KeyRing.of(secrets, allowed)
    rules = BorderRules(
        service=service,
        keys=keys,
        max_body_bytes=settings.max_body_bytes,
        larger_bodies=larger_bodies or {},
        openai_paths=tuple(openai_paths),
        open_paths=tuple(open_paths),
        confined={name: tuple(paths) for name, paths in (confined or {}).items()},
        acting_for=frozenset(acting_for),
        render=render,
        unguarded=unguarded,
        admission=admission(settings, load_topology(settings)) if keys is None or admits_with_keys else None,
    )
    app.add_middleware(Border, rules=rules)
    install_health(app, service, readiness)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    def handler(translate: Callable[[Any], ApiError]) -> Callable[[Request, Exception], Response]:
        return lambda request, error: rules.error_response(request.url.path, translate(error))

    app.add_exception_handler(ApiError, handler(lambda error: error))
    app.add_exception_handler(RequestValidationError, handler(_of_validation))
    app.add_exception_handler(HTTPException, handler(_of_http))


def _of_validation(error: RequestValidationError) -> ApiError:
    """Names the field. Several faults are told together, the first one in `param`."""
    faults = list(error.errors())
    if any(fault["type"] == "json_invalid" for fault in faults):
        return InvalidRequest("The body is not valid JSON.", code="malformed_json")
    named = [
        (".".join(str(part) for part in fault["loc"] if part != "body") or "body", fault["msg"]) for fault in faults
    ]
    return ValidationFailed("; ".join(f"{name}: {text}" for name, text in named), param=named[0][0])


def _of_http(error: HTTPException) -> ApiError:
    found = error_of(error.status_code, str(error.detail))
    if error.status_code == 404:
        found.detail = "There is no such route here."
    return found
