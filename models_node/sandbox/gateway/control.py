"""E2B's control plane. Sandboxes belong to the principal that made them; the operator sees all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from models_node.sandbox.errors import no_sandbox, not_offered, signed_urls_refused, upload_stalled
from models_node.sandbox.gateway import listing, shapes
from models_node.sandbox.gateway.idempotency import Keys
from models_node.sandbox.gateway.records import Sandbox
from models_node.sandbox.gateway.requests import (
    BODY_BYTES,
    Connect,
    NewSandbox,
    Refresh,
    Timeout,
    checked_variables,
    claim_of,
    parsed,
    template_of,
)
from models_node.sandbox.gateway.sandboxes import Sandboxes
from stack.settings import Settings
from wire.context import current
from wire.errors import ApiError, InvalidRequest, NotFound, TooLarge, error_of

OPERATOR = "operator"
JSON = "application/json"

router = APIRouter()

T = TypeVar("T")


class ControlPlane:
    """What the routes work with; in `app.state.control`."""

    def __init__(self, sandboxes: Sandboxes, settings: Settings) -> None:
        self.sandboxes = sandboxes
        self.settings = settings
        self.keys = Keys(time.monotonic)

    def mine(self, sandbox_id: str) -> Sandbox:
        """A running sandbox of who asks. Raises NotFound, which says why it ended where that is remembered."""
        name = current().principal.name
        found = self.sandboxes.find(sandbox_id)
        if found is not None and found.claim is not None and name in (found.claim.owner, OPERATOR):
            return found
        gone = self.sandboxes.gone(sandbox_id)
        known = gone is not None and name in (gone.owner, OPERATOR)
        raise no_sandbox(sandbox_id[:64], gone.why.value if gone is not None and known else None)

    def visible(self) -> list[Sandbox]:
        name = current().principal.name
        return [s for s in self.sandboxes.listed() if s.claim and name in (s.claim.owner, OPERATOR)]

    def capped(self, seconds: float) -> float:
        return min(seconds, self.settings.sandbox_max_timeout_seconds)

    async def create(self, asked: NewSandbox) -> dict[str, Any]:
        rules = self.sandboxes.rules
        claim = claim_of(asked, current().principal.name, self.settings, egress=rules.any)
        variables = checked_variables(asked.variables or {})
        return shapes.access(await self.sandboxes.create(claim, variables))


def control_of(request: Request) -> ControlPlane:
    control: ControlPlane = request.app.state.control
    return control


@router.post("/v2/sandboxes")
@router.post("/sandboxes")
async def create(request: Request) -> Response:
    control, body = control_of(request), await _body(request)
    asked = parsed(NewSandbox, body)
    key = request.headers.get("idempotency-key")
    if key is None:
        made = await while_connected(request.receive, control.create(asked))
    else:
        # The key's own task keeps the principal: it begins in a copy of this request's context.
        made = await control.keys.once(current().principal.name, key, body, lambda: control.create(asked))
    return JSONResponse(made, 201)


@router.get("/v2/sandboxes")
@router.get("/sandboxes")
async def list_sandboxes(request: Request) -> Response:
    control, asked = control_of(request), request.query_params
    template = asked.get("template")
    query = listing.read_query(
        metadata=asked.get("metadata"),
        state=asked.getlist("state"),
        started_after=asked.get("startedAfter"),
        template=template_of(template) if template else None,
        limit=asked.get("limit"),
        order=asked.get("order"),
        next_token=asked.get("nextToken"),
    )
    here, following = listing.page(control.visible(), query)
    headers = {"x-next-token": following} if following else None
    return JSONResponse([shapes.listed(sandbox, control.settings) for sandbox in here], headers=headers)


@router.get("/sandboxes/metrics")
async def metrics_of_many() -> Response:
    raise not_offered("Metrics of several sandboxes in one answer")


@router.get("/sandboxes/{sandbox_id}")
async def info(request: Request, sandbox_id: str) -> Response:
    control = control_of(request)
    return JSONResponse(shapes.detail(control.mine(sandbox_id), control.settings))


@router.delete("/sandboxes/{sandbox_id}")
async def kill(request: Request, sandbox_id: str) -> Response:
    control = control_of(request)
    control.mine(sandbox_id)
    if not await control.sandboxes.kill(sandbox_id):
        control.mine(sandbox_id)
    return Response(status_code=204)


@router.post("/sandboxes/{sandbox_id}/timeout")
async def set_timeout(request: Request, sandbox_id: str) -> Response:
    control, asked = control_of(request), parsed(Timeout, await _body(request))
    await _set_timeout(control, sandbox_id, asked.timeout, extend=False)
    return Response(status_code=204)


@router.post("/sandboxes/{sandbox_id}/refreshes")
async def refresh(request: Request, sandbox_id: str) -> Response:
    control, asked = control_of(request), parsed(Refresh, await _body(request))
    await _set_timeout(control, sandbox_id, asked.duration, extend=True)
    return Response(status_code=204)


@router.post("/v2/sandboxes/{sandbox_id}/connect")
@router.post("/sandboxes/{sandbox_id}/connect")
async def connect(request: Request, sandbox_id: str) -> Response:
    """Its life is made longer where need be, never shorter."""
    control, asked = control_of(request), parsed(Connect, await _body(request))
    await _set_timeout(control, sandbox_id, asked.timeout, extend=True)
    return JSONResponse(shapes.access(control.mine(sandbox_id)))


@router.get("/sandboxes/{sandbox_id}/metrics")
async def metrics(request: Request, sandbox_id: str) -> Response:
    control = control_of(request)
    sandbox = control.mine(sandbox_id)
    start, end = (_seconds(request, name) for name in ("start", "end"))
    await control.sandboxes.sample(sandbox)
    told = [shapes.metric(sample, control.settings) for sample in control.sandboxes.samples.of(sandbox_id)]
    return JSONResponse(
        [
            each
            for each in told
            if (start is None or each["timestampUnix"] >= start) and (end is None or each["timestampUnix"] <= end)
        ]
    )


async def _body(request: Request) -> bytes:
    """A request's JSON, whole and in time. Raises ApiError.

    Browsers let any page send what is not JSON to an address of this machine, where no key may be asked for.
    """
    said = request.headers.get("content-type")
    kind = (said or "").partition(";")[0].strip().lower()
    if said is not None and kind != JSON:
        raise _not_json()
    seconds, body = control_of(request).settings.sandbox_stall_seconds, bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > BODY_BYTES:
                    raise TooLarge(f"The body is larger than {BODY_BYTES} bytes.")
    except TimeoutError:
        raise upload_stalled(seconds) from None
    if body and said is None:
        raise _not_json()
    return bytes(body)


def _not_json() -> ApiError:
    return error_of(415, f"The body has to be {JSON}, and to be called so.", code="unsupported_media_type")


async def _set_timeout(control: ControlPlane, sandbox_id: str, seconds: float, *, extend: bool) -> None:
    control.mine(sandbox_id)
    if not await control.sandboxes.set_timeout(sandbox_id, control.capped(seconds), extend=extend):
        control.mine(sandbox_id)  # it ended just now, and that is known by now
        raise no_sandbox(sandbox_id, None)


def _seconds(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise InvalidRequest(f"{name}: seconds since 1970.", param=name)
    return int(text)


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """Does the work; cancels it when the client disconnects, and answers nobody."""
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise NotFound("The client left.")
        return doing.result()
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


NOT_OFFERED = (
    ("POST", "/sandboxes/{id}/pause", "Pausing a sandbox"),
    ("POST", "/sandboxes/{id}/resume", "Resuming a sandbox"),
    ("POST", "/sandboxes/{id}/fork", "Forking a sandbox"),
    ("POST", "/sandboxes/{id}/snapshots", "Snapshots"),
    ("GET", "/snapshots", "Snapshots"),
    ("PUT", "/sandboxes/{id}/network", "Changing a sandbox's network"),
    ("GET", "/sandboxes/{id}/logs", "Logs of a sandbox"),
    ("GET", "/v2/sandboxes/{id}/logs", "Logs of a sandbox"),
)
NOT_OFFERED_BELOW = (
    ("templates", "Templates"),
    ("v2/templates", "Templates"),
    ("v3/templates", "Templates"),
    ("default-templates", "Templates"),
    ("volumes", "Volumes"),
    ("secrets", "Secrets"),
    ("teams", "Teams"),
    ("nodes", "Nodes"),
)


def _refusing(what: str) -> Any:
    async def refuse() -> Response:
        raise not_offered(what)

    return refuse


for _method, _path, _what in NOT_OFFERED:
    router.add_api_route(_path, _refusing(_what), methods=[_method], include_in_schema=False)
for _folder, _what in NOT_OFFERED_BELOW:
    for _path in (f"/{_folder}", f"/{_folder}/{{rest:path}}"):
        router.add_api_route(
            _path, _refusing(_what), methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False
        )


@router.api_route("/files", methods=["GET", "POST"], include_in_schema=False)
async def signed_url() -> Response:
    """A request for a file that names no sandbox can only be a signed URL."""
    raise signed_urls_refused()
