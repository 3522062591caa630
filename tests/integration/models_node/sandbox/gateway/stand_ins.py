"""A launcher whose sandboxes are small servers in this process, a ledger, and a gateway that serves over both.

For tests of the gateway alone: what the agents answer is chosen by the test, and no code is run.
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from models_node.sandbox.errors import LaunchFailed
from models_node.sandbox.gateway.app import assemble
from models_node.sandbox.gateway.launching import Usage
from stack.secrets import Secrets
from stack.settings import Settings
from wire.errors import Unavailable
from wire.serve import AbortableProtocol

MIB = 2**20
LINE = b'{"type": "stdout", "text": "x", "timestamp": 0}\n'


class Echo:
    """Each piece as it comes: both directions at once."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        more = True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": more})


class StandInAgent:
    """Answers what a test asks for by the code it sends to `/execute`: a word, and what is to happen."""

    def __init__(self, listener: socket.socket) -> None:
        self.environment: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.heard: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers
        self.left = 0  # executions whose reader went away
        self.streaming = 0
        routes = [
            Route("/ready", self.ready),
            Route("/init", self.init, methods=["POST"]),
            Route("/health", self.health),
            Route("/envs", self.envs),
            Route("/files", self.read, methods=["GET"]),
            Route("/files", self.write, methods=["POST"]),
            Route("/contexts", self.contexts),
            Route("/execute", self.execute, methods=["POST"]),
            Route("/process.Process/StreamInput", Echo(), methods=["POST"]),
        ]
        config = uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off", http="httptools")
        self._server = uvicorn.Server(config)
        self._listener = listener
        self.task = asyncio.create_task(self._server._serve(sockets=[listener]))

    async def end(self) -> None:
        """As abrupt as a kill: every connection breaks."""
        for connection in tuple(self._server.server_state.connections):
            connection.transport.abort()
        self._server.should_exit = self._server.force_exit = True
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        for server in getattr(self._server, "servers", ()):
            server.close()
        self._listener.close()

    def note(self, request: Request) -> None:
        self.heard.append((request.method, request.url.path, dict(request.headers)))

    async def ready(self, request: Request) -> Response:
        return Response(status_code=200)

    async def init(self, request: Request) -> Response:
        self.environment |= (await request.json())["envVars"]
        return Response(status_code=204)

    async def health(self, request: Request) -> Response:
        self.note(request)
        return Response(status_code=204)

    async def envs(self, request: Request) -> Response:
        return JSONResponse(self.environment)

    async def read(self, request: Request) -> Response:
        self.note(request)
        name = request.query_params["path"]
        if name == "cookies":
            return Response(b"", headers={"set-cookie": "a=b", "location": "http://evil.invalid", "x-metadata-a": "1"})
        if name not in self.files:
            return JSONResponse({"code": 404, "message": "no such file"}, 404)
        return Response(self.files[name], media_type="application/octet-stream")

    async def write(self, request: Request) -> Response:
        self.note(request)
        body = b""
        async for piece in request.stream():
            body += piece
        name = request.query_params.get("path", "upload")
        self.files[name] = body
        return JSONResponse([{"name": name, "path": name, "type": "file"}])

    async def contexts(self, request: Request) -> Response:
        return JSONResponse([{"id": "default", "language": "python", "cwd": "/home/user"}])

    async def execute(self, request: Request) -> Response:
        self.note(request)
        word, _, rest = (await request.json())["code"].partition(" ")
        if word == "hang":
            await asyncio.sleep(3600)
        return StreamingResponse(self._lines(word, rest), media_type="application/x-ndjson")

    async def _lines(self, word: str, rest: str) -> AsyncIterator[bytes]:
        yield b'{"type": "number_of_executions", "execution_count": 1}\n'
        if word == "say":
            yield json.dumps({"type": "result", "is_main_result": True, "text": rest}).encode() + b"\n"
        elif word in ("endless", "silent"):
            self.streaming += 1
            try:
                while True:
                    if word == "endless":
                        yield LINE * 200
                        await asyncio.sleep(0)
                    else:
                        yield LINE
                        await asyncio.sleep(3600)
            finally:
                self.left += 1
        yield b'{"type": "end_of_execution"}\n'


class StandInLauncher:
    """launch_seconds: what a launch takes. failing: why launches fail now."""

    def __init__(self) -> None:
        self.agents: dict[str, StandInAgent] = {}
        self.launch_seconds = 0.0
        self.failing: str | None = None
        self.words: str | None = None
        self.most = 0
        self.memory_bytes = 90 * MIB
        self.starting = False
        self._callback: Callable[[str, str], None] | None = None

    async def create(self, sandbox_id: str, listener: socket.socket, *, egress: bool) -> socket.socket | None:
        await asyncio.sleep(self.launch_seconds)
        if self.failing is not None:
            raise LaunchFailed(self.failing)
        self.agents[sandbox_id] = StandInAgent(listener.dup())
        self.most = max(self.most, len(self.agents))
        if not egress:
            return None
        way_out = socket.socket()
        way_out.bind(("127.0.0.1", 0))
        way_out.listen()
        return way_out

    async def kill(self, sandbox_id: str) -> None:
        agent = self.agents.pop(sandbox_id, None)
        if agent is not None:
            await agent.end()

    async def usage(self, sandbox_id: str) -> Usage | None:
        return Usage(self.memory_bytes, 1.5, 3) if sandbox_id in self.agents else None

    def on_exit(self, callback: Callable[[str, str], None]) -> None:
        self._callback = callback

    async def die(self, sandbox_id: str, reason: str) -> None:
        await self.agents.pop(sandbox_id).end()
        assert self._callback is not None
        self._callback(sandbox_id, reason)

    @property
    def unavailable(self) -> str | None:
        return self.words

    @property
    def starting(self) -> bool:
        return False


class StandInLedger:
    """room: bytes it may give; None: it cannot be reached."""

    def __init__(self) -> None:
        self.room: int | None = 64 * 1024 * MIB
        self.held = 0
        self.told: list[tuple[int, bool]] = []

    async def hold(self, holder: str, bytes_: int, *, in_use: bool, ttl_seconds: float) -> None:
        await asyncio.sleep(0)
        if self.room is None:
            raise Unavailable("model-server cannot be reached.", code="model_server_unreachable")
        if bytes_ > self.room and not in_use:
            raise Unavailable("no room", code="out_of_memory", retry_after_seconds=1)
        self.held = bytes_
        self.told.append((bytes_, in_use))

    async def release(self, holder: str) -> None:
        self.held = 0


class RunningGateway:
    """The real application on a loopback port, in a thread with a loop of its own."""

    def __init__(self, settings: Settings, secrets: Secrets | None = None) -> None:
        self.launcher = StandInLauncher()
        self.ledger = StandInLedger()
        self._folder = tempfile.TemporaryDirectory(prefix="c6-gw-")
        self.app = assemble(settings, secrets, lambda: self.launcher, self.ledger, Path(self._folder.name))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(self.app, log_config=None, http=AbortableProtocol, timeout_graceful_shutdown=2)
        self.server = uvicorn.Server(config)
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> RunningGateway:
        self._thread.start()
        self.until(lambda: self.server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the gateway did not stop"
        assert not self.launcher.agents, "sandboxes outlived the gateway"
        self._folder.cleanup()

    def _run(self) -> None:
        async def serve() -> None:
            self.loop = asyncio.get_running_loop()
            self.app.state.stopping = asyncio.Event()
            await self.server._serve(sockets=[self._socket])

        asyncio.run(serve())

    def do(self, coroutine: Any) -> Any:
        """Runs something in the gateway's own loop."""
        assert self.loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        limit = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < limit, "it did not come to that"
            time.sleep(0.01)

    def stats(self) -> dict[str, Any]:
        told: dict[str, Any] = httpx.get(f"{self.url}/stats").json()
        return told

    def warm(self, count: int) -> None:
        self.until(lambda: self.stats()["states"]["warm"] == count)

    def agent(self, sandbox_id: str) -> StandInAgent:
        return self.launcher.agents[sandbox_id]

    def sdk(self) -> dict[str, str]:
        """What the SDK has to be told."""
        return {"api_key": "any", "api_url": self.url, "sandbox_url": self.url}
