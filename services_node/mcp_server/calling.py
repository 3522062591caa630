"""How one tool call runs: a place, a time limit, cancellation that reaches the tool, an outcome in words."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, InputRequiredResult
from prometheus_client import Counter, Gauge, Histogram

from services_node.mcp_server.errors import Busy, ToolFailed, UnknownTool
from services_node.mcp_server.registry import Call, Tool, ToolReply, ToolResult
from services_node.mcp_server.results import ResultLimits, bounded, failure
from wire.errors import ApiError
from wire.telemetry import span

log = logging.getLogger("services_node.mcp_server")

EXECUTE_TOOL = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.type": "function"}

CALLS = Counter("mcp_tool_calls", "Tool calls by outcome.", ["tool", "outcome"])
SECONDS = Histogram("mcp_tool_call_seconds", "From the call to its result.", ["tool"])
ACTIVE = Gauge("mcp_tool_calls_active", "Tool calls under way.")


class Caller:
    """Runs tools, at most `at_once`. A call that ends early ends its tool: it is cancelled, and given
    `cleanup_seconds` for its `finally`. Its place is free when the tool has really ended.
    """

    def __init__(self, tools: Mapping[str, Tool], limits: ResultLimits, at_once: int, cleanup_seconds: float) -> None:
        self._tools = tools
        self.limits = limits
        self._at_once = at_once
        self._cleanup_seconds = cleanup_seconds
        self._running: set[asyncio.Task[ToolResult]] = set()
        self._stopping = False

    @property
    def active(self) -> int:
        return len(self._running)

    async def stop(self, seconds: float) -> None:
        """Ends what runs, each with its reason, and takes nothing more. Waits for the ends, but not longer."""
        self._stopping = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(set(self._running), timeout=seconds)

    async def call(self, name: str, arguments: Mapping[str, Any], call: Call) -> CallToolResult | InputRequiredResult:
        """A tool's failure is a result with `is_error`. Raises UnknownTool, and what a tool says in MCP's own words."""
        with span(f"execute_tool {name[:100]}", {**EXECUTE_TOOL, "gen_ai.tool.name": name[:100]}) as step:
            result = await self._called(name, arguments, call)
            if isinstance(result, CallToolResult) and result.is_error:
                step.error = "tool_error"
            return result

    async def _called(
        self, name: str, arguments: Mapping[str, Any], call: Call
    ) -> CallToolResult | InputRequiredResult:
        tool = self._tools.get(name)
        if tool is None:
            raise UnknownTool(f"Unknown tool: {name[:100]}")
        started, outcome = time.perf_counter(), "cancelled"
        try:
            answer = await self._run(tool, arguments, call)
            result = bounded(tool, answer, self.limits) if isinstance(answer, ToolReply) else answer
            outcome = "failed" if isinstance(result, CallToolResult) and result.is_error else "completed"
            return result
        except ToolFailed as error:
            outcome = "refused" if isinstance(error, Busy) else "failed"
            return failure(error.reason, self.limits, source=error.source)
        except ApiError as error:  # of a service that the tool asked; its detail is meant for who asks
            outcome = "failed"
            return failure(error.detail, self.limits)
        except MCPError:
            outcome = "failed"
            raise
        except Exception:
            outcome = "failed"
            log.exception("a tool failed unexpectedly", extra={"tool": name})
            told = f"{name} failed unexpectedly (run {call.run_id}). Trying the same again may not help."
            return failure(told, self.limits)
        finally:
            CALLS.labels(name, outcome).inc()
            SECONDS.labels(name).observe(time.perf_counter() - started)
            extra = {"tool": name, "outcome": outcome, "duration_ms": round((time.perf_counter() - started) * 1000, 1)}
            log.info("tool call", extra=extra)

    async def _run(self, tool: Tool, arguments: Mapping[str, Any], call: Call) -> ToolResult:
        if self._stopping:
            raise Busy("The server is stopping. Call again in a moment.")
        if len(self._running) >= self._at_once:
            raise Busy(f"{self._at_once} tool calls are running, as many as may. Call again in a moment.")
        # A task of its own: the protocol's cancellation is delivered at every await, cleaning up included.
        task = asyncio.create_task(_answer(tool, arguments, call), name=f"tool {tool.name}")
        self._running.add(task)
        ACTIVE.set(len(self._running))
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait({task}, timeout=tool.timeout_seconds)
        except asyncio.CancelledError:
            await self._end(task, tool)
            raise
        if not task.done():
            await self._end(task, tool)
            raise ToolFailed(
                f"{tool.name} did not finish within {tool.timeout_seconds:g} seconds and was ended. "
                "Ask for less at once, or try later."
            )
        if task.cancelled():
            raise ToolFailed(f"{tool.name} was ended because the server is stopping. Call again in a moment.")
        return task.result()

    def _ended(self, task: asyncio.Task[ToolResult]) -> None:
        self._running.discard(task)
        ACTIVE.set(len(self._running))
        if not task.cancelled() and task.exception() is not None:
            log.debug("a tool ended with an error", exc_info=task.exception())

    async def _end(self, task: asyncio.Task[ToolResult], tool: Tool) -> None:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({task}, timeout=self._cleanup_seconds)
        if not task.done():
            log.error("a tool does not end; it keeps its place until it does", extra={"tool": tool.name})


async def _answer(tool: Tool, arguments: Mapping[str, Any], call: Call) -> ToolResult:
    """`run` may be any awaitable; a task takes a coroutine."""
    return await tool.run(arguments, call)
