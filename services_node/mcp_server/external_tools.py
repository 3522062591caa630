"""Another server's tool as one of ours: a name that every model API takes, bounds, no trust in its hints. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from mcp_types import Tool as Descriptor

from services_node.mcp_server.external_settings import ExternalServer
from services_node.mcp_server.registry import Call, Tool, ToolReply
from services_node.mcp_server.results import clean

OFFERED = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what OpenAI-compatible model servers take as a function's name
DESCRIPTION_CHARS = 2000
SCHEMA_CHARS = 20_000
GRACE_SECONDS = 1.0  # between a server's own time limit and the call's
DESCRIPTOR_FAULT = "a tool of another server is left out"

Forward = Callable[[str, Mapping[str, Any], Call], Awaitable[ToolReply]]


def offered_name(server: str, tool: str) -> str:
    return f"{server}__{tool}"


def tool_of(name: str, server: ExternalServer, descriptor: Descriptor, forward: Forward) -> Tool:
    """Raises ValueError for a tool that can't be offered: its name, or a schema beyond all bounds.

    It counts as one that changes things unless the operator says that the server only reads: a server's hints about
    its own tools are claims.
    """
    offered = offered_name(name, descriptor.name)
    if not OFFERED.fullmatch(offered):
        raise ValueError("its name has other characters than letters, digits, `_` and `-`, or is too long")
    if len(json.dumps([descriptor.input_schema, descriptor.output_schema])) > SCHEMA_CHARS:
        raise ValueError(f"its schemas have more than {SCHEMA_CHARS} characters")
    output = descriptor.output_schema if (descriptor.output_schema or {}).get("type") == "object" else None
    hints = descriptor.annotations

    async def run(arguments: Mapping[str, Any], call: Call) -> ToolReply:
        return await forward(descriptor.name, arguments, call)

    return Tool(
        name=offered,
        title=clean(descriptor.title or descriptor.name)[:100],
        description=clean(descriptor.description or "")[:DESCRIPTION_CHARS],
        input_schema={"type": "object", **descriptor.input_schema},
        output_schema=output,
        run=run,
        read_only=server.read_only,
        idempotent=server.read_only,
        destructive=not server.read_only and (hints is None or hints.destructive_hint is not False),
        open_world=True,
        untrusted=True,
        timeout_seconds=server.timeout_seconds + GRACE_SECONDS,
        cost="moderate",
    )
