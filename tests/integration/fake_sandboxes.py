"""An E2B endpoint for tests of what calls one: control plane, files, Python that runs in this very process. It isolates
nothing, and stands in where a test wants an endpoint that fails on demand; real sandboxes are tested elsewhere.

The code finds `home` (a Path) and `wait(seconds)`, which ends with KeyboardInterrupt when the client goes away, and
`show(**forms)`, which displays a result. `POST /watch/fail {"status": 503, "words": …}` makes creations fail,
`POST /watch/room {"most": 2}` those beyond so many sandboxes, `POST /watch/slow {"seconds": 9}` makes them take as
long, whether or not their client waits; `POST /watch/lose` ends every sandbox; `GET /watch` tells
what there is, and which run and trace each of the last calls carried.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import secrets
import shutil
import sys
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import uvicorn
from e2b.envd.filesystem import filesystem_pb as pb
from e2b.envd.filesystem.filesystem_connect import Filesystem, FilesystemASGIApplication
from protobuf.wkt import Timestamp
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

HOME = "/home/user"


@dataclass
class Sandbox:
    id: str
    metadata: dict[str, str]
    ends_at: datetime
    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="fake-sandbox-")))
    names: dict[str, Any] = field(default_factory=dict)
    count: int = 0
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))

    def told(self) -> dict[str, Any]:
        return {
            "templateID": "code-interpreter-v1", "sandboxID": self.id, "clientID": "fake", "envdVersion": "0.6.4",
            "envdAccessToken": self.token, "trafficAccessToken": self.token, "domain": None,
            "startedAt": datetime.now(UTC).isoformat(), "endAt": self.ends_at.isoformat(), "state": "running",
            "cpuCount": 1, "memoryMB": 512, "diskSizeMB": 512, "metadata": self.metadata,
        }  # fmt: skip

    def path(self, given: str) -> Path:
        return self.home / given.removeprefix(HOME).lstrip("/")


sandboxes: dict[str, Sandbox] = {}
calls: deque[dict[str, str | None]] = deque(maxlen=500)
state: dict[str, Any] = {
    "fail": None,
    "words": "told to fail",
    "most": 1000,
    "keys": [],
    "interrupted": 0,
    "created": 0,
    "slow": 0,
    "creating": 0,
    "running": 0,
}


def alive() -> dict[str, Sandbox]:
    for one in [one for one in sandboxes.values() if one.ends_at < datetime.now(UTC)]:
        shutil.rmtree(sandboxes.pop(one.id).home, ignore_errors=True)
    return sandboxes


def missing(sandbox_id: str, status: int = 404) -> Response:
    return JSONResponse(
        {"code": status, "message": "The sandbox was not found", "sandboxId": sandbox_id}, status_code=status
    )


async def create(request: Request) -> Response:
    state["keys"].append(request.headers.get("x-api-key"))
    if state["fail"]:
        return JSONResponse({"code": state["fail"], "message": state["words"]}, state["fail"])
    if len(alive()) >= state["most"]:
        return JSONResponse({"code": 429, "message": "full"}, 429)
    body = await request.json()
    state["creating"] += 1
    await asyncio.sleep(state["slow"])
    state["creating"] -= 1
    made = Sandbox(secrets.token_hex(10), body.get("metadata") or {}, _end(body["timeout"]))
    sandboxes[made.id] = made
    state["created"] += 1
    return JSONResponse(made.told(), 201)


async def listed(request: Request) -> Response:
    wanted = {unquote(k): unquote(v) for k, v in parse_qsl(request.query_params.get("metadata", ""))}
    found = [one.told() for one in alive().values() if wanted.items() <= one.metadata.items()]
    return JSONResponse(found)


async def one(request: Request) -> Response:
    sandbox = alive().get(request.path_params["id"])
    if sandbox is None:
        return missing(request.path_params["id"])
    if request.method == "DELETE":
        shutil.rmtree(sandboxes.pop(sandbox.id).home, ignore_errors=True)
        return Response(status_code=204)
    return JSONResponse(sandbox.told())


async def extend(request: Request) -> Response:
    sandbox = alive().get(request.path_params["id"])
    if sandbox is None:
        return missing(request.path_params["id"])
    sandbox.ends_at = _end((await request.json())["timeout"])
    return JSONResponse(sandbox.told(), 200) if request.url.path.endswith("connect") else Response(status_code=204)


def _end(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def files(request: Request) -> Response:
    sandbox = alive().get(request.headers.get("e2b-sandbox-id", ""))
    if sandbox is None:
        return missing("?", 502)
    path = sandbox.path(request.query_params["path"])
    if request.method == "GET":
        if not path.is_file():
            return JSONResponse({"code": 404, "message": "no such file"}, 404)
        if not path.stat().st_mode & 0o400:  # this process may read what a sandbox's user may not
            return JSONResponse({"code": 400, "message": "Permission denied"}, 400)
        return FileResponse(path)
    if request.headers["content-type"].startswith("multipart/"):
        async with request.form() as form:
            data = await form["file"].read()  # type: ignore[union-attr]
    else:
        data = await request.body()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        return JSONResponse({"code": 400, "message": str(error)}, 400)
    return JSONResponse([{"name": path.name, "path": request.query_params["path"], "type": "file"}])


class Files(Filesystem):
    async def list_dir(self, request: pb.ListDirRequest, ctx: Any, /) -> pb.ListDirResponse:
        sandbox = alive()[ctx.request_headers.get("e2b-sandbox-id")]
        found = []
        for path in sorted(sandbox.home.rglob("*")):
            relative = path.relative_to(sandbox.home)
            if len(relative.parts) <= request.depth:
                about = path.stat()
                found.append(
                    pb.EntryInfo(
                        name=path.name,
                        path=f"{HOME}/{relative}",
                        type=pb.FileType.DIRECTORY if path.is_dir() else pb.FileType.FILE,
                        size=about.st_size,
                        modified_time=Timestamp.from_datetime(datetime.fromtimestamp(about.st_mtime, UTC)),
                    )
                )
        return pb.ListDirResponse(entries=found)


async def execute(request: Request) -> Response:
    sandbox = alive().get(request.headers.get("e2b-sandbox-id", ""))
    if sandbox is None:
        return missing("?", 502)
    return StreamingResponse(lines(sandbox, await request.json()), media_type="application/x-ndjson")


async def lines(sandbox: Sandbox, body: dict[str, Any]) -> AsyncIterator[str]:
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    gone, loop = threading.Event(), asyncio.get_running_loop()

    def tell(event: dict[str, Any] | None) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, event)

    threading.Thread(target=run, args=(sandbox, body["code"], tell, gone), daemon=True).start()
    try:
        while (event := await queue.get()) is not None:
            yield json.dumps(event) + "\n"
            if event["type"] == "lose":
                return
    finally:
        gone.set()


def run(sandbox: Sandbox, code: str, tell: Any, gone: threading.Event) -> None:
    class Out(io.TextIOBase):
        def write(self, text: str) -> int:
            tell({"type": "stdout", "text": text, "timestamp": 0})
            return len(text)

    def wait(seconds: float) -> None:
        if gone.wait(seconds):
            state["interrupted"] += 1
            raise KeyboardInterrupt

    def show(**forms: Any) -> None:
        tell({"type": "result", "is_main_result": False, **forms})

    sandbox.count += 1
    state["running"] += 1
    sandbox.names |= {"home": sandbox.home, "wait": wait, "show": show}
    try:
        with contextlib.redirect_stdout(Out()):
            exec(code, sandbox.names)
    except BaseException as error:
        told = {"name": type(error).__name__, "value": str(error), "traceback": traceback.format_exc()}
        tell({"type": "error", **told})
    state["running"] -= 1
    tell({"type": "number_of_executions", "execution_count": sandbox.count})
    tell({"type": "end_of_execution"})
    tell(None)


async def health(request: Request) -> Response:
    known = request.headers.get("e2b-sandbox-id", "") in alive()
    return Response(status_code=204) if known else missing("?", 502)


async def watch(_: Request) -> Response:
    told = [{"id": one.id, "metadata": one.metadata} for one in alive().values()]
    return JSONResponse({"sandboxes": told, "calls": list(calls), **state})


async def fail(request: Request) -> Response:
    asked = await request.json()
    state["fail"], state["words"] = asked["status"], asked.get("words", "told to fail")
    return Response(status_code=204)


async def room(request: Request) -> Response:
    state["most"] = (await request.json())["most"]
    return Response(status_code=204)


async def slow(request: Request) -> Response:
    state["slow"] = (await request.json())["seconds"]
    return Response(status_code=204)


async def lose(_: Request) -> Response:
    sandboxes.clear()
    return Response(status_code=204)


class Heard:
    """Notes which run and trace a call carries."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/watch"):
            headers = Headers(scope=scope)
            carried = {"run_id": headers.get("x-capibara6-run-id"), "traceparent": headers.get("traceparent")}
            calls.append({"call": f"{scope['method']} {scope['path']}", **carried})
        await self.app(scope, receive, send)


app = Starlette(
    middleware=[Middleware(Heard)],
    routes=[
        Route("/v2/sandboxes", create, methods=["POST"]),
        Route("/v2/sandboxes", listed),
        Route("/sandboxes/{id}", one, methods=["GET", "DELETE"]),
        Route("/sandboxes/{id}/timeout", extend, methods=["POST"]),
        Route("/v2/sandboxes/{id}/connect", extend, methods=["POST"]),
        Route("/files", files, methods=["GET", "POST"]),
        Route("/execute", execute, methods=["POST"]),
        Route("/health", health),
        Route("/watch", watch),
        Route("/watch/fail", fail, methods=["POST"]),
        Route("/watch/room", room, methods=["POST"]),
        Route("/watch/slow", slow, methods=["POST"]),
        Route("/watch/lose", lose, methods=["POST"]),
        Mount("/", FilesystemASGIApplication(Files())),
    ],
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
