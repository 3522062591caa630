"""A model server over real sockets, with small engines that do as a test says."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from aiohttp import web

from models_node.catalogue import Catalogue, ModelEntry, parse_catalogue
from models_node.errors import EngineFailed
from models_node.residency.measuring import Measurement
from models_node.server.app import assemble
from stack.settings import Settings
from wire.serve import AbortableProtocol

LIMIT_SECONDS = 10.0
ENTRY = """
[[models]]
id = "{0}"
domain = "general"
description = ""
context_length = 100
weights = "{0}"
memory_estimate = "3 GiB"
"""
CATALOGUE = parse_catalogue(
    'default = "a"\n[limits]\nmemory_budget = "7 GiB"\n' + "".join(ENTRY.format(model) for model in "abc"), "test"
)
CHAT = {"messages": [{"role": "user", "content": "hello"}]}


def chunk(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


class ScriptedEngine:
    """A vLLM of two routes on a unix socket. `script` answers; `gone` is set when its client went away."""

    def __init__(self, entry: ModelEntry, path: Path, script: Script) -> None:
        self.entry = entry
        self.socket = path
        self.pid = 1
        self.gone = asyncio.Event()
        self.seen: list[tuple[dict[str, str], Any]] = []
        self.stopped = False
        self.slow_start = False
        self.release = asyncio.Event()  # ends a slow start
        self.failure: EngineFailed | None = None  # how it ends
        self.can_sleep = False
        self.private_bytes = 0
        self._died = asyncio.Event()
        self._script = script
        self._runner: web.AppRunner | None = None

    async def ready(self) -> None:
        if self.slow_start:
            await self.release.wait()
        if self.failure is not None:
            raise self.failure
        app = web.Application()
        for path in ("/v1/chat/completions", "/v1/embeddings"):
            app.router.add_post(path, self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.socket)).start()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((dict(request.headers), await request.json()))
        try:
            return await self._script(self, request)
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise

    def die(self, request: web.Request) -> None:
        """As a killed process does: the connection breaks, then the pool hears of the end."""
        assert request.transport is not None
        request.transport.abort()
        self._died.set()

    async def exited(self) -> str:
        await self._died.wait()
        return "killed by signal 9"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
        self.stopped = True

    async def sleep(self, level: int) -> None:
        raise NotImplementedError

    async def wake(self) -> None:
        raise NotImplementedError

    def measure(self) -> Measurement:
        return Measurement(self.private_bytes, self.private_bytes)


Script = Callable[[ScriptedEngine, web.Request], Awaitable[web.StreamResponse]]


class Launcher:
    def __init__(self, folder: Path, script: Script) -> None:
        self.folder = folder
        self.script = script
        self.engines: list[ScriptedEngine] = []
        self.slow_start = False
        self.engine_bytes = 0  # that each new engine is measured to hold

    def prepare(self) -> list[int]:
        return []

    def close(self) -> None:
        pass

    def shared_bytes(self) -> int:
        return 0

    async def launch(self, entry: ModelEntry) -> ScriptedEngine:
        engine = ScriptedEngine(entry, self.folder / f"{len(self.engines)}", self.script)
        engine.slow_start = self.slow_start
        engine.private_bytes = self.engine_bytes
        self.engines.append(engine)
        return engine


@asynccontextmanager
async def serving(
    folder: Path, script: Script, *, catalogue: Catalogue = CATALOGUE, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Launcher, asyncio.Event]]:
    """A model server on a free port: a client of it, its engines, and its stop signal."""
    launcher = Launcher(folder, script)
    app = assemble(Settings(home=folder, **settings), None, catalogue, launcher)
    app.state.stopping = asyncio.Event()
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:  # asyncio sends at once only where it sees this
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(
            app, http=AbortableProtocol, log_config=None, lifespan="on", timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            base = f"http://127.0.0.1:{listener.getsockname()[1]}"
            async with httpx.AsyncClient(base_url=base, timeout=LIMIT_SECONDS, trust_env=False) as client:
                async with asyncio.timeout(LIMIT_SECONDS):
                    while not server.started:  # noqa: ASYNC110
                        await asyncio.sleep(0.005)
                yield client, launcher, app.state.stopping
        finally:
            server.should_exit = True
            await running
    assert all(engine.stopped for engine in launcher.engines)


async def streamed(request: web.Request) -> web.StreamResponse:
    reply = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await reply.prepare(request)
    return reply


async def tells_three_words(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
    reply = await streamed(request)
    for word in ("one", "two", "three"):
        await reply.write(chunk(word))
    await reply.write(b"data: [DONE]\n\n")
    return reply


async def never_ends(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
    reply = await streamed(request)
    while True:
        await reply.write(chunk("more"))
        await asyncio.sleep(0.01)


def error_of(reply: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def eventually(condition: Callable[[], bool | Awaitable[bool]], seconds: float = LIMIT_SECONDS) -> None:
    """Returns when the condition holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.005)
