"""The MCP server's own code over tools of these tests (`python served_tools.py`): what smart-mcp forwards to.

The nine tools that a stack has, most of them answering with what they were asked; `calculate` adds. `tell_caller` says
who asked and with what; `wait_long` reports progress until it is ended, and `ended` counts how often it was; `fail`
fails.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from services_node.mcp_server.app import application
from services_node.mcp_server.registry import Call, Registry, Tool, ToolFailed, ToolReply
from stack.secrets import Secrets
from stack.settings import Settings
from wire.context import current
from wire.serve import serve

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "unit" / "services_node" / "smart_mcp"))
from nine_tools import NINE_TOOLS  # type: ignore[import-not-found]

registry = Registry()
state = {"ended": 0}


class Sum(BaseModel):
    total: float


class Caller(BaseModel):
    principal: str
    run_id: str
    trace_id: str
    conversation_id: str | None
    locale: str


@registry.tool(title="Calculator", read_only=True, idempotent=True, timeout_seconds=5, cost="cheap",
               keywords={"es": ("calcula",), "en": ("calculate",)})  # fmt: skip
async def calculate(expression: str) -> Sum:
    """Adds the terms of an expression."""
    return Sum(total=sum(float(term) for term in expression.split("+")))


@registry.tool(title="Who", timeout_seconds=5, cost="cheap", keywords={"es": ("quién pregunta",), "en": ("caller",)})
async def tell_caller(*, call: Call) -> Caller:
    """Tells who asked."""
    return Caller(
        principal=call.principal, run_id=str(call.run_id), trace_id=current().trace.trace_id,
        conversation_id=str(call.conversation_id) if call.conversation_id else None, locale=call.locale,
    )  # fmt: skip


@registry.tool(title="Wait", timeout_seconds=60, cost="cheap", keywords={})
async def wait_long(*, call: Call) -> Sum:
    """Waits until it is ended."""
    try:
        for step in range(1200):
            await call.progress(step, 1200, f"step {step}")
            await asyncio.sleep(0.05)
    except asyncio.CancelledError:
        state["ended"] += 1
        raise
    return Sum(total=0)


@registry.tool(title="Ended", timeout_seconds=5, cost="cheap", keywords={})
async def ended() -> Sum:
    """How many waits were ended."""
    return Sum(total=state["ended"])


@registry.tool(title="Fail", timeout_seconds=5, cost="cheap", keywords={})
async def fail() -> Sum:
    """Fails."""
    raise ToolFailed("it rains: take an umbrella")


async def _echo(arguments: Any, call: Call) -> ToolReply:
    return ToolReply(structured=dict(arguments))


for wire in NINE_TOOLS:
    if wire["name"] not in registry.tools:
        registry.add_tool(
            Tool(wire["name"], wire["title"], wire["description"], wire["inputSchema"], _echo, read_only=True,
                 keywords=wire["_meta"]["capibara6/keywords"])
        )  # fmt: skip

CONTEXTS = {"company_info": "Anachroni s.coop makes Capibara6.", "technical_specs": "Axion, 125 GB."}


def create_app(settings: Settings, secrets: Secrets) -> FastAPI:
    app = application(settings, secrets, registry)

    @app.get("/api/mcp/contexts")
    async def contexts() -> dict[str, Any]:
        listed = [{"id": id_, "name": id_.replace("_", " "), "description": text} for id_, text in CONTEXTS.items()]
        return {"contexts": listed, "total": len(listed)}

    @app.get("/api/mcp/context/{id_}")
    async def context(id_: str) -> dict[str, Any]:
        return {"context_id": id_, "name": id_, "data": CONTEXTS[id_]}

    return app


if __name__ == "__main__":
    sys.exit(serve(create_app, service="mcp-server"))
