"""The speech server as an application: its parts, their life, its routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services_node.tts_server import older_routes, routes
from services_node.tts_server.asking import Read
from services_node.tts_server.engines.contract import Engines
from services_node.tts_server.engines.processes import EngineProcesses
from services_node.tts_server.parts import Parts, make_parts
from services_node.tts_server.reading import read
from stack.secrets import Secrets
from stack.settings import Settings
from wire.border import install_border
from wire.health import Readiness

log = logging.getLogger("services_node.tts_server")

SERVICE = "tts-server"
PRINCIPALS = {"frontend", "n8n", "operator", "services"}
ACTING_FOR = {"services"}


def create_app(settings: Settings, secrets: Secrets | None) -> FastAPI:
    """Raises ConfigurationError for origins that are none."""
    return application(settings, secrets, EngineProcesses(settings), read)


def application(settings: Settings, secrets: Secrets | None, engines: Engines, reading: Read) -> FastAPI:
    """The same with other engines: what the tests serve."""
    parts = make_parts(settings, engines, reading)
    app = FastAPI(title="Capibara6 speech", version="0.1.0", lifespan=_life, redoc_url=None)
    app.state.parts = parts
    app.include_router(routes.router)
    app.include_router(older_routes.router)

    async def readiness() -> Readiness:
        infos = {info.name: info for info in engines.infos()}
        default = infos.get(settings.tts_default_engine)
        checks = {name: f"{info.state}: {info.mend}" if info.mend else info.state for name, info in infos.items()}
        return Readiness(default is not None and default.state in ("ready", "idle"), checks)

    install_border(
        app,
        service=SERVICE,
        settings=settings,
        secrets=secrets,
        allowed=PRINCIPALS,
        acting_for=ACTING_FOR,
        readiness=readiness,
        openai_paths=("/",),
        open_paths=("/health",),
    )
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    """The default engine is kept running, so that no text waits for it."""
    parts: Parts = app.state.parts
    first = asyncio.create_task(_keep_default(parts), name="default engine")
    try:
        yield
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await parts.close()


async def _keep_default(parts: Parts) -> None:
    name = parts.settings.tts_default_engine
    if name not in {info.name for info in parts.engines.infos()}:
        log.error("there is no such engine (CAPIBARA6_TTS_DEFAULT_ENGINE)", extra={"engine": name})
        return
    try:
        await parts.engines.keep(name)
    except Exception:
        log.exception("the default engine is not kept running any more", extra={"engine": name})
