"""The speech server over HTTP on loopback, in this process, with engines that hum."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from services_node.tts_server.app import application
from services_node.tts_server.parts import Parts
from stack.settings import Settings
from tests.unit.services_node.tts_server.fakes import FakeEngines, read
from wire.serve import AbortableProtocol

SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Served:
    url: str
    http: httpx.AsyncClient
    engines: FakeEngines
    parts: Parts

    async def speech(self, text: str, **more: Any) -> httpx.Response:
        return await self.http.post("/v1/audio/speech", json={"input": text, **more})


@asynccontextmanager
async def served(home: Path, engines: FakeEngines | None = None, **settings: Any) -> AsyncIterator[Served]:
    engines = engines or FakeEngines()
    app = application(Settings(home=home, **settings), None, engines, read)
    app.state.stopping = asyncio.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, http=AbortableProtocol, ws="none", log_config=None, lifespan="on", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.create_task(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        await eventually(lambda: server.started or running.done(), "the server listens")
        async with httpx.AsyncClient(base_url=url, timeout=SECONDS, trust_env=False) as http:
            yield Served(url, http, engines, app.state.parts)
    finally:
        server.should_exit = True
        await running
        listener.close()
    assert engines.closed


async def eventually(holds: Callable[[], Any], told: str) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():  # noqa: ASYNC110 - of what is watched, not all tells
            await asyncio.sleep(0.005)
    assert holds(), told
