"""The MCP server as an application: its parts, their life, its routes."""

from __future__ import annotations

import asyncio
import logging
from collections import ChainMap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from mcp.server.lowlevel.server import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from starlette.routing import Route

from services_node.mcp_protocol.endpoint import LAST_WORDS_SECONDS, PATH, McpEndpoint, SharedListen
from services_node.mcp_server import rest
from services_node.mcp_server.calling import Caller
from services_node.mcp_server.catalogue import product_registry
from services_node.mcp_server.external import ExternalServers
from services_node.mcp_server.external_settings import read_external_servers
from services_node.mcp_server.parts import Parts, make_parts
from services_node.mcp_server.protocol import Offer, build_server
from services_node.mcp_server.readiness import ReadinessProbe
from services_node.mcp_server.registry import Registry
from services_node.mcp_server.results import ResultLimits
from stack.secrets import Secrets
from stack.settings import Settings
from wire.border import install_border

SERVICE = "mcp-server"
PRINCIPALS = {"frontend", "n8n", "operator", "services"}
ACTING_FOR = {"services"}


@dataclass(frozen=True, slots=True)
class Service:
    """What the application lives from, in `app.state.service`."""

    parts: Parts
    offer: Offer
    caller: Caller
    external: ExternalServers
    endpoint: McpEndpoint
    listen: ListenHandler
    bus: InMemorySubscriptionBus
    server: Server[Any]
    contexts: rest.Contexts


def create_app(settings: Settings, secrets: Secrets | None) -> FastAPI:
    """Raises ConfigurationError for a list of other servers or of origins that is wrong."""
    return application(settings, secrets, product_registry())


def application(
    settings: Settings, secrets: Secrets | None, registry: Registry, contexts: rest.Contexts | None = None
) -> FastAPI:
    """The same with another registry: what the tests of the protocol itself serve."""
    parts = make_parts(settings, secrets)
    bus = InMemorySubscriptionBus()
    external = ExternalServers(read_external_servers(settings), settings, bus)
    offer = Offer(registry, ChainMap(registry.tools, external.tools))
    limits = ResultLimits(settings.mcp_result_chars, settings.mcp_result_binary_bytes)
    caller = Caller(offer.tools, limits, settings.mcp_concurrent_calls, settings.mcp_cleanup_seconds)
    listen = SharedListen(bus, most=settings.mcp_subscriptions)
    server = build_server(offer, caller, parts, listen)
    endpoint = McpEndpoint(server, settings)
    for name in ("mcp", "httpx2"):  # a line for each session, with its id, and for each outgoing call
        logging.getLogger(name).setLevel(logging.WARNING)

    app = FastAPI(title="Capibara6 MCP", version="0.1.0", lifespan=_life, redoc_url=None)
    app.state.service = Service(
        parts, offer, caller, external, endpoint, listen, bus, server, contexts or parts.contexts
    )
    app.router.routes.append(Route(PATH, endpoint=endpoint))
    app.include_router(rest.router)

    install_border(
        app,
        service=SERVICE,
        settings=settings,
        secrets=secrets,
        allowed=PRINCIPALS,
        acting_for=ACTING_FOR,
        admits_with_keys=True,  # the protocol asks it of its servers
        readiness=ReadinessProbe(parts, external),
        openai_paths=(),
        open_paths=("/health", "/api/mcp/health"),
    )
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    service: Service = app.state.service
    async with service.endpoint.run(), service.external.run():
        stop = asyncio.create_task(_stop(service, app.state.stopping))
        try:
            yield
        finally:
            app.state.stopping.set()
            await stop
    await service.parts.close()


async def _stop(service: Service, stopping: asyncio.Event) -> None:
    """At the first stop signal, before the server waits for its open streams: they end with a reason."""
    await stopping.wait()
    service.listen.close()
    await service.caller.stop(LAST_WORDS_SECONDS)
    await service.endpoint.close_sessions(LAST_WORDS_SECONDS)
