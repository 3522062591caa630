"""The product's own MCP server, process and all, with the conformance suite's fixtures in place of its tools."""

from __future__ import annotations

import sys
from pathlib import Path

from fastapi import FastAPI

sys.path.insert(0, str(Path(__file__).resolve().parent))

import suite_fixtures

from services_node.mcp_server.app import SERVICE, application
from stack.secrets import Secrets
from stack.settings import Settings
from wire.serve import serve


def create_app(settings: Settings, secrets: Secrets) -> FastAPI:
    app = application(settings, secrets, suite_fixtures.registry)
    suite_fixtures.add_triggers(app.state.service.bus)
    suite_fixtures.add_optional(app.state.service.server)
    return app


if __name__ == "__main__":
    sys.exit(serve(create_app, service=SERVICE))
