"""The light MCP server as an application: its parts, their life, its routes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.routing import Route

from services_node.mcp_protocol.endpoint import LAST_WORDS_SECONDS, PATH, McpEndpoint
from services_node.smart_mcp import routes
from services_node.smart_mcp.forwarding import Forwarder
from services_node.smart_mcp.parts import Parts, make_parts
from services_node.smart_mcp.protocol import build_server
from stack.secrets import Secrets
from stack.settings import Settings
from wire.border import install_border
from wire.health import Readiness

log = logging.getLogger("services_node.smart_mcp")

SERVICE = "smart-mcp"
PRINCIPALS = {"frontend", "n8n", "operator", "services"}
ACTING_FOR = {"services"}


def create_app(settings: Settings, secrets: Secrets | None) -> FastAPI:
    """Raises ConfigurationError for origins that are none."""
    parts = make_parts(settings, secrets)
    forwarder = Forwarder(parts.server, settings.smart_concurrent_calls)
    endpoint = McpEndpoint(build_server(parts, forwarder), settings)

    app = FastAPI(title="Capibara6 smart MCP", version=routes.VERSION, lifespan=_life, redoc_url=None)
    app.state.parts, app.state.forwarder, app.state.endpoint = parts, forwarder, endpoint
    app.router.routes.append(Route(PATH, endpoint=endpoint))
    app.include_router(routes.router)

    async def readiness() -> Readiness:
        catalogue = parts.catalogue
        checks = {"mcp-server": catalogue.state, "embeddings": parts.meaning.state}
        return Readiness(catalogue.index is not None, checks)

    install_border(
        app,
        service=SERVICE,
        settings=settings,
        secrets=secrets,
        allowed=PRINCIPALS,
        acting_for=ACTING_FOR,
        admits_with_keys=True,  # the protocol asks it of its servers
        readiness=readiness,
        openai_paths=(),
        open_paths=("/health",),
    )
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    endpoint: McpEndpoint = app.state.endpoint
    async with endpoint.run():
        background = [
            asyncio.create_task(parts.catalogue.keep(), name="catalogue"),
            asyncio.create_task(_look(parts), name="embeddings"),
        ]
        stop = asyncio.create_task(_stop(app), name="stop")
        try:
            yield
        finally:
            app.state.stopping.set()
            for task in background:
                task.cancel()
            ended = await asyncio.gather(*background, stop, return_exceptions=True)
            for task, end in zip([*background, stop], ended, strict=True):
                if isinstance(end, Exception):
                    log.error("what runs beside the requests failed", exc_info=end, extra={"task": task.get_name()})
    await parts.close()


async def _look(parts: Parts) -> None:
    """Whether embeddings are to be asked for, again and again."""
    while parts.settings.smart_embeddings != "off":
        index = parts.catalogue.index
        if index is not None and index.wants_meaning:
            await parts.meaning.look(index)
        await asyncio.sleep(parts.settings.smart_embeddings_look_seconds)


async def _stop(app: FastAPI) -> None:
    """At the first stop signal, before the server waits for its open streams: they end with a reason."""
    await app.state.stopping.wait()
    await app.state.forwarder.stop()
    await app.state.endpoint.close_sessions(LAST_WORDS_SECONDS)
