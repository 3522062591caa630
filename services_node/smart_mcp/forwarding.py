"""A call passed on to 5003: its progress, cancellation, `_meta` and errors come through; at most so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from prometheus_client import Counter

from wire.clients.mcp import McpClient
from wire.context import RequestContext
from wire.errors import ApiError, ValidationFailed
from wire.telemetry import span

FORWARDED = Counter("smart_mcp_calls", "Calls passed on to the MCP server, by outcome.", ["outcome"])
# Of a request's `_meta`, what is between this server and its client, and is said anew to 5003.
_OWN_META = ("io.modelcontextprotocol/", "progressToken", "traceparent", "capibara6/query")


class Forwarder:
    def __init__(self, server: McpClient, at_once: int) -> None:
        self._server = server
        self._at_once = at_once
        self._running: set[asyncio.Task[Any]] = set()
        self._stopping = False

    @property
    def active(self) -> int:
        return len(self._running)

    async def call(
        self, name: str, arguments: Mapping[str, Any], context: RequestContext, ctx: ServerRequestContext[Any, Any]
    ) -> types.CallToolResult:
        """5003's result. What keeps a call from being made is a tool error that says so; raises MCPError for a call
        that 5003 finds wrong. Cancelling it closes the exchange, which cancels the tool.
        """
        if self._stopping or len(self._running) >= self._at_once:
            FORWARDED.labels("refused").inc()
            why = "The server is stopping." if self._stopping else f"{self._at_once} calls are under way."
            return _failed(f"{why} Call again in a moment.")
        task = asyncio.create_task(self._forward(name, arguments, context, ctx), name=f"forward {name}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.cancel()
            FORWARDED.labels("cancelled").inc()
            raise
        if task.cancelled():
            FORWARDED.labels("cancelled").inc()
            return _failed("The call was ended because the server is stopping. Call again in a moment.")
        return task.result()

    async def stop(self) -> None:
        """Ends what is under way, each with its reason, and takes nothing more."""
        self._stopping = True
        for task in self._running:
            task.cancel()
        await asyncio.sleep(0)

    async def _forward(
        self, name: str, arguments: Mapping[str, Any], context: RequestContext, ctx: ServerRequestContext[Any, Any]
    ) -> types.CallToolResult:
        meta = {
            key: value
            for key, value in ((ctx.params or {}).get("_meta") or {}).items()
            if not key.startswith(_OWN_META)
        }

        async def progress(done: float, total: float | None, message: str) -> None:
            await ctx.session.report_progress(done, total, message or None)

        try:
            with span(f"forward {name}", {"gen_ai.tool.name": name}, context):
                found = await self._server.call_tool(name, arguments, meta=meta, on_progress=progress)
        except ValidationFailed as error:
            FORWARDED.labels("refused").inc()
            raise MCPError(types.INVALID_PARAMS, error.detail) from None
        except ApiError as error:
            FORWARDED.labels("failed").inc()
            return _failed(
                f"{name} could not be called: {error.detail} ({error.code}). Go on without it, or try later."
            )
        FORWARDED.labels("failed" if found.failed else "completed").inc()
        result: dict[str, Any] = {"content": list(found.content), "isError": found.failed}
        if found.structured is not None:
            result["structuredContent"] = found.structured
        if found.meta:
            result["_meta"] = {key: value for key, value in found.meta.items() if not key.startswith(_OWN_META[0])}
        return types.CallToolResult.model_validate(result)


def _failed(reason: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=reason)], is_error=True)
