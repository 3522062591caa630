"""Tools over MCP: round trips of our own client and of the SDK's, the tools by themselves, and the Prefect task."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from bench._chat_figures import met, without
from bench._chat_stack import START_SECONDS, ChatStack
from bench._streams import milliseconds
from db.records import RunRecord
from flows.link import FlowLink, Outcome
from flows.prefect_settings import client_environment
from flows.runner import FlowRunner, RunnerConfig
from flows.steps import FlowSteps, Steps
from services_node.mcp_server.catalogue import product_registry
from services_node.mcp_server.parts import make_parts
from services_node.mcp_server.registry import Call, Tool
from wire.clients.mcp import McpClient
from wire.ids import uuid7

AIM_MS = 10.0
WARM_UP = 20
ERAS = {"2026-07-28": "2026-07-28", "2025-11-25": "legacy"}  # to the SDK's `mode`
CALLS: Mapping[str, Mapping[str, Any]] = {
    "calculate": {"expression": "17 % of 2340"},
    "current_datetime": {"time_zone": "Europe/Madrid"},
}

Act = Callable[[], Awaitable[object]]


async def measure(acts: Mapping[str, Act], times: int) -> dict[str, list[float]]:
    """Seconds of each, one after the other in rotating order, after a warm-up."""
    names, taken = list(acts), {name: list[float]() for name in acts}
    for number in range(-WARM_UP, times):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            began = time.perf_counter()
            await acts[name]()
            if number >= 0:
                taken[name].append(time.perf_counter() - began)
    return taken


async def tool_calls(stack: ChatStack, times: int) -> dict[str, Any]:
    """Figures of each tool."""
    url, parts = stack.topology.url("mcp-server"), make_parts(stack.settings, stack.secrets)
    call, tools, client = Call(uuid7(), "local", parts), product_registry().tools, McpClient(url)
    told: dict[str, Any] = {}
    try:
        async with sdk(url, "2026-07-28") as modern, sdk(url, "2025-11-25") as legacy, standing_run(stack) as run:
            for name, arguments in CALLS.items():
                acts = acts_of(tools[name], arguments, call, client, run.steps)
                acts |= {"sdk_2026_07_28": by_sdk(modern, name), "sdk_2025_11_25": by_sdk(legacy, name)}
                told[name] = figures(await measure(acts, times))
            asked = len(CALLS) * (times + WARM_UP)
            told["recorded_tasks"] = {"asked": asked, "in_prefect": await run.tasks(asked)}
    finally:
        await client.close()
        await parts.close()
    return told


def acts_of(tool: Tool, arguments: Mapping[str, Any], call: Call, client: McpClient, steps: Steps) -> dict[str, Act]:
    async def over_mcp() -> None:
        result = await client.call_tool(tool.name, arguments)
        if result.failed:
            raise RuntimeError(f"{tool.name} failed: {result.text}")

    return {
        "itself": lambda: tool.run(arguments, call),
        "over_mcp": over_mcp,
        "as_prefect_task": lambda: steps.run(f"tool {tool.name}", over_mcp, timeout_seconds=tool.timeout_seconds),
    }


def by_sdk(client: Client, name: str) -> Act:
    async def called() -> None:
        result = await client.call_tool(name, dict(CALLS[name]))
        if result.is_error:
            raise RuntimeError(f"{name} failed: {result.content}")

    return called


def figures(taken: Mapping[str, list[float]]) -> dict[str, Any]:
    """All but the tool's own time without it."""
    own = taken["itself"]
    told: dict[str, Any] = {"itself": milliseconds(own)}
    told |= {name: without(seconds, own) for name, seconds in taken.items() if name != "itself"}
    told["over_mcp"] |= met(told["over_mcp"]["median_ms"], AIM_MS)
    return told


@asynccontextmanager
async def sdk(url: str, era: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(timeout=30, trust_env=False) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=ERAS[era]) as client,
    ):
        yield client


class NoRows:
    """`flows.runner.RunRows` of a run that is nobody's."""

    async def link_flow(self, run_id: uuid.UUID, flow_run_id: uuid.UUID, *, recorded: bool) -> None:
        return

    async def unrecorded(self, stack_id: str, since: datetime, limit: int) -> list[RunRecord]:
        return []


@dataclass(frozen=True, slots=True)
class StandingRun:
    steps: Steps
    runner: FlowRunner
    flow_run_id: uuid.UUID

    async def tasks(self, expected: int) -> int:
        """How many task runs Prefect has of it, once they are those expected, or after a while."""
        deadline = time.monotonic() + START_SECONDS
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False) as http:
            while True:
                asked = {"flow_runs": {"id": {"any_": [str(self.flow_run_id)]}}}
                found = int((await http.post("/task_runs/count", json=asked)).raise_for_status().json())
                if found >= expected or time.monotonic() > deadline:
                    return found
                await asyncio.sleep(0.2)

    @property
    def url(self) -> str:
        return self.runner._config.environment["PREFECT_API_URL"]


@asynccontextmanager
async def standing_run(stack: ChatStack) -> AsyncIterator[StandingRun]:
    """A flow run that stands, made as the chat API makes them: its steps become tasks."""
    environment = client_environment(stack.settings, stack.secrets)
    config = RunnerConfig(environment, "bench", uuid7(), stack.settings.prefect_watch_seconds, 1.0)
    runner = FlowRunner(config, NoRows())
    runner.start()
    link = FlowLink("chat", uuid7(), uuid7(), lambda: None, asyncio.get_running_loop())
    try:
        await until(lambda: runner.state == "up", "Prefect is found")
        runner.attach(link)
        await until(lambda: link._flow_loop is not None, "the flow run stands")
        assert link.flow_run_id is not None
        yield StandingRun(FlowSteps(link), runner, link.flow_run_id)
    finally:
        link.end(Outcome("completed", "The measurement ended.", datetime.now(UTC)))
        await runner.stop(30)


async def until(holds: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(START_SECONDS):
        while not holds():  # noqa: ASYNC110 - another thread's state
            await asyncio.sleep(0.02)
    if not holds():
        raise RuntimeError(what)
