"""The MCP server as an application: its parts, their life, its routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services_node.mcp_server.parts import Parts, make_parts
from stack.secrets import Secrets
from stack.settings import Settings
from wire.border import install_border
from wire.health import Readiness

SERVICE = "mcp-server"
PRINCIPALS = {"frontend", "n8n", "operator", "services"}
ACTING_FOR = {"services"}


def create_app(settings: Settings, secrets: Secrets) -> FastAPI:
    app = FastAPI(title="Capibara6 MCP", version="0.1.0", lifespan=_life, redoc_url=None)
    app.state.parts = make_parts(settings, secrets)

    async def readiness() -> Readiness:
        return Readiness(True)

    install_border(
        app,
        service=SERVICE,
        settings=settings,
        secrets=secrets,
        allowed=PRINCIPALS,
        acting_for=ACTING_FOR,
        readiness=readiness,
        open_paths=("/health", "/api/mcp/health"),
    )
    return app


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    parts: Parts = app.state.parts
    try:
        yield
    finally:
        await parts.close()
