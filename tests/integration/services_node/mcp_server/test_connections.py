"""Connections and sessions that are opened and left, clients that go away, a server that is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import httpx
import pytest
from mcp_clients import ACCEPT, LEGACY, MODERN, body, connected, happened, headers, opened, until, words
from mcp_process import McpProcess

MEMORY = 40 * 2**20  # what a thousand connections, or sessions that come and go, may cost


async def test_a_thousand_connections_opened_and_left_keep_nobody_out(trying: McpProcess) -> None:
    before = trying.resident_bytes
    waiting = [await asyncio.open_connection("127.0.0.1", trying.port) for _ in range(1000)]
    try:
        for _, writer in waiting[:500]:
            writer.write(b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-le")
        async with connected(trying.mcp, MODERN) as client:
            assert words(await client.call_tool("add", {"numbers": [1, 2]})) == "= 3"
        assert trying.resident_bytes - before < MEMORY
    finally:
        for _, writer in waiting:
            writer.close()


async def test_sessions_opened_and_left_make_room_for_new_ones(trying: McpProcess) -> None:
    async with httpx.AsyncClient() as http, AsyncExitStack() as streams:
        sessions = []
        for place in range(100):
            session = (await opened(http, trying.mcp)).headers["mcp-session-id"]
            sessions.append(session)
            if place % 2:  # with its stream of notifications open
                told = {**ACCEPT, "mcp-session-id": session}
                reply = await streams.enter_async_context(http.stream("GET", trying.mcp, headers=told, timeout=60))
                assert reply.status_code == 200
        assert (await http.get(f"{trying.url}/api/mcp/status")).json()["sessions"] <= 20
        async with connected(trying.mcp, LEGACY) as client:
            assert words(await client.call_tool("add", {"numbers": [1, 2]})) == "= 3"
        asked = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        gone = await http.post(trying.mcp, json=asked, headers={**ACCEPT, "mcp-session-id": sessions[0]})
        assert gone.status_code == 404


async def test_a_session_in_use_outlives_those_that_were_left(trying: McpProcess) -> None:
    async with httpx.AsyncClient() as http, connected(trying.mcp, LEGACY) as client:
        call = asyncio.create_task(client.call_tool("work", {"name": "in use"}))
        async with connected(trying.mcp, MODERN) as watching:
            await happened(watching, "in use began")
            for _ in range(30):
                assert (await opened(http, trying.mcp)).status_code == 200
            assert not call.done()
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await happened(watching, "in use cleaned up")


async def test_sessions_end_when_nobody_uses_them(another: Callable[..., McpProcess]) -> None:
    server = another({"CAPIBARA6_MCP_SESSION_IDLE_SECONDS": "0.2"})
    async with httpx.AsyncClient() as http:
        session = (await opened(http, server.mcp)).headers["mcp-session-id"]

        async def gone() -> bool:
            return (await http.get(f"{server.url}/api/mcp/status")).json()["sessions"] == 0

        await until(gone, 10, "the session is ended")
        asked = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        reply = await http.post(server.mcp, json=asked, headers={**ACCEPT, "mcp-session-id": session})
        assert reply.status_code == 404


@pytest.mark.parametrize("progress", [True, False])
async def test_a_client_that_closes_its_stream_cancels_the_call(trying: McpProcess, progress: bool) -> None:
    name = f"left {progress}"
    meta = {"progressToken": 1} if progress else {}
    content = body("tools/call", {"name": "work", "arguments": {"name": name}, "_meta": meta})
    async with connected(trying.mcp, MODERN) as watching, httpx.AsyncClient() as http:
        told = headers("tools/call", "work")
        leaving = asyncio.create_task(http.post(trying.mcp, content=content, headers=told, timeout=60))
        await happened(watching, f"{name} began")
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await happened(watching, f"{name} cleaned up")


@pytest.mark.parametrize("era", [MODERN, LEGACY])
async def test_a_stop_ends_calls_with_their_reason_and_does_not_wait_for_streams(
    another: Callable[..., McpProcess], era: str
) -> None:
    server = another({"CAPIBARA6_GRACEFUL_STOP_SECONDS": "90"})  # what it would wait for its streams, as long as a test
    async with httpx.AsyncClient() as http, connected(server.mcp, era) as client:
        session = (await opened(http, server.mcp)).headers["mcp-session-id"]
        told = {**ACCEPT, "mcp-session-id": session}
        async with http.stream("GET", server.mcp, headers=told, timeout=60) as stream:
            assert stream.status_code == 200
            call = asyncio.create_task(client.call_tool("work", {"name": "stopped"}))
            async with connected(server.mcp, MODERN) as watching:
                await happened(watching, "stopped began")
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, server.stop) in (0, -15)  # uvicorn raises the signal again
        result = await call
    assert result.is_error
    assert "ended because the server is stopping" in words(result)
