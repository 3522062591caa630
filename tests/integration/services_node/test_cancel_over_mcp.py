"""One cancel over MCP: a call that ends early, at 5003 or through 5010, leaves nothing behind in any part."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from assistant_stack import NEIGHBOURS, SECONDS, Assistant
from installation import eventually
from mcp import Client

sys.path.insert(0, str(Path(__file__).resolve().parent / "mcp_server"))

from mcp_clients import ERAS, LEGACY, MODERN, body, connected, headers, opened, words

Reached = Callable[[Assistant], bool]
CALLS: dict[str, tuple[str, dict[str, Any], Reached]] = {
    "a tool": ("wait_long", {"name": "direct"}, lambda on: on.tools()["waiting"] == ["direct"]),
    "code": ("run_python", {"code": "wait(60)"}, lambda on: on.sandboxes()["running"] == 1),
    "a page": ("fetch_url", {"url": "http://127.0.0.1:SITE/page"}, lambda on: on.site.open == 1),
    "another server's tool": (NEIGHBOURS, {"name": "direct"}, lambda on: on.neighbour.waiting() == ["direct"]),
}
SERVICES = ("mcp-server", "smart-mcp")


def call_of(on: Assistant, what: str) -> tuple[str, dict[str, Any], Reached]:
    name, arguments, reached = CALLS[what]
    return name, {key: value.replace("SITE", str(on.site.port)) for key, value in arguments.items()}, reached


async def calling(on: Assistant, client: Client, service: str, what: str) -> asyncio.Task[Any]:
    """A call under way: of the tool itself at 5003, by call_tool at 5010."""
    name, arguments, reached = call_of(on, what)
    if service == "smart-mcp":
        name, arguments = "call_tool", {"name": name, "arguments": arguments}
    task = asyncio.create_task(client.call_tool(name, arguments))
    await asyncio.to_thread(eventually, lambda: reached(on) or task.done(), SECONDS, what)
    assert not task.done(), task.result()
    return task


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_client_that_gives_up_a_call_ends_its_work(
    assistant: Assistant, service: str, what: str, era: str
) -> None:
    async with connected(f"{assistant.stack.url(service)}/mcp", era) as client:
        task = await calling(assistant, client, service, what)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.to_thread(assistant.nothing_runs)
        assert (await client.list_tools()).tools  # the client itself is well
    if what == "code":
        run = assistant.api.get("/api/runs").json()["runs"][0]
        assert (run["kind"], run["status"], run["error"]["code"]) == ("code", "cancelled", "client_disconnected")


@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("service", SERVICES)
async def test_a_connection_that_breaks_ends_its_call(assistant: Assistant, service: str, what: str) -> None:
    name, arguments, reached = call_of(assistant, what)
    if service == "smart-mcp":
        name, arguments = "call_tool", {"name": name, "arguments": arguments}
    async with httpx.AsyncClient(timeout=20) as http:
        sending = asyncio.create_task(
            http.post(
                f"{assistant.stack.url(service)}/mcp",
                content=body("tools/call", {"name": name, "arguments": arguments}),
                headers=headers("tools/call", name, MODERN),
            )
        )
        await asyncio.to_thread(eventually, lambda: reached(assistant) or sending.done(), SECONDS, what)
        assert not sending.done(), sending.result().text
        sending.cancel()
        with suppress(asyncio.CancelledError):
            await sending
    await asyncio.to_thread(assistant.nothing_runs)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_session_that_is_ended_ends_its_calls(assistant: Assistant, service: str) -> None:
    url = f"{assistant.stack.url(service)}/mcp"
    name, arguments, reached = call_of(assistant, "a tool")
    if service == "smart-mcp":
        name, arguments = "call_tool", {"name": name, "arguments": arguments}
    async with httpx.AsyncClient(timeout=20) as http:
        session = {"mcp-session-id": (await opened(http, url)).headers["mcp-session-id"]}
        told = headers("tools/call", name, LEGACY) | session
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
        sending = asyncio.create_task(http.post(url, json=asked, headers=told))
        await asyncio.to_thread(eventually, lambda: reached(assistant) or sending.done(), SECONDS, "it waits")
        assert not sending.done(), sending.result().text
        await http.delete(url, headers=told)
        await asyncio.to_thread(assistant.nothing_runs)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


@pytest.mark.parametrize("era", ERAS)
async def test_a_run_of_code_that_is_cancelled_ends_the_call_that_began_it(assistant: Assistant, era: str) -> None:
    async with connected(f"{assistant.stack.url('mcp-server')}/mcp", era) as client:
        task = await calling(assistant, client, "mcp-server", "code")
        run = next(one for one in assistant.api.get("/api/runs").json()["runs"] if one["status"] == "running")
        assert assistant.api.post(f"/api/runs/{run['id']}/cancel").json()["status"] == "cancelled"
        result = await asyncio.wait_for(task, SECONDS)
        assert result.is_error and "cancelled" in words(result)
        await asyncio.to_thread(assistant.nothing_runs)


@pytest.mark.parametrize("stopped", SERVICES)
async def test_a_server_that_stops_tells_its_calls_and_ends_their_work(assistant: Assistant, stopped: str) -> None:
    url = f"{assistant.stack.url(stopped)}/mcp"
    async with connected(url, MODERN) as modern, connected(url, LEGACY) as legacy:
        tasks = [
            await calling(assistant, modern, stopped, "a tool"),
            await calling(assistant, legacy, stopped, "code"),
            await calling(assistant, modern, stopped, "a page"),
            await calling(assistant, legacy, stopped, "another server's tool"),
        ]
        await asyncio.to_thread(assistant.stack.stop, stopped, seconds=12)
        try:
            for result in await asyncio.wait_for(asyncio.gather(*tasks), SECONDS):
                assert result.is_error and "stopping" in words(result)
            await asyncio.to_thread(assistant.nothing_runs)
        finally:
            restart = assistant.start_tools if stopped == "mcp-server" else assistant.start_smart
            await asyncio.to_thread(restart)
            await asyncio.to_thread(assistant.wait_for_tools)


def test_a_chat_goes_on_when_the_server_of_its_tool_stops(assistant: Assistant) -> None:
    said = 'una espera larga tokens=1 calls=[{"name": "wait_long", "arguments": {"name": "turn"}}]'
    asked = assistant.ask("/api/chat/stream", {"message": said})
    eventually(lambda: assistant.tools()["waiting"] == ["turn"], SECONDS, "its tool runs")
    assistant.stack.stop("mcp-server", seconds=12)
    try:
        assert '"type":"end"' in asked.answer().replace(" ", "")
        assert assistant.ended(asked.run_id)["status"] == "completed"
        assistant.nothing_runs()
    finally:
        assistant.start_tools()
        assistant.wait_for_tools()
