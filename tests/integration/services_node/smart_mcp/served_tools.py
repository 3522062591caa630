"""The MCP server's own code over tools of these tests (`python served_tools.py`): what smart-mcp forwards to.

The tools that a stack has, those that ask other services answering with what they were asked. `tell_caller` says who
asked and with what; `wait_long` reports progress until it is ended, and `ended` counts how often it was; `fail` fails.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from services_node.mcp_server.app import application
from services_node.mcp_server.catalogue import product_registry
from services_node.mcp_server.contexts import ContextLibrary
from services_node.mcp_server.parts import DOCUMENTS
from services_node.mcp_server.registry import Call, Registry, ToolFailed, ToolReply
from stack.secrets import Secrets
from stack.settings import Settings
from wire.context import current
from wire.serve import serve

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


REAL = {"calculate", "current_datetime"}
for tool in product_registry().tools.values():
    registry.add_tool(tool if tool.name in REAL else replace(tool, run=_echo, output_schema=None))


def create_app(settings: Settings, secrets: Secrets) -> FastAPI:
    library = ContextLibrary(DOCUMENTS, most_bytes=settings.mcp_context_bytes)
    return application(settings, secrets, registry, library)


if __name__ == "__main__":
    sys.exit(serve(create_app, service="mcp-server"))
