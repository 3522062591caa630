"""smart-mcp for real: choices over HTTP, MCP in both eras, calls that go through and come back, its memory."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import mcp_types as types
import pytest
from installation import eventually
from mcp import Client
from mcp.shared.exceptions import MCPError
from smart_pair import Pair

MODES = ["2026-07-28", "legacy"]
MEMORY_LIMIT_BYTES = 150 * 2**20


def text_of(result: types.CallToolResult) -> str:
    return "".join(block.text for block in result.content if isinstance(block, types.TextContent))


def test_only_what_the_question_needs_is_offered(pair: Pair) -> None:
    assert pair.offered("¿Cuánto es 17 % de 348?") == ["calculate"]
    assert pair.offered("Summarise https://example.com/a") == ["fetch_url"]
    assert pair.offered("Hola, ¿qué tal?") == pair.offered("Who wrote Hamlet?") == []


def test_a_choice_says_what_was_considered_and_by_what(pair: Pair) -> None:
    found = pair.post("/select", {"query": "12*3", "allowed": ["calculate", "fetch_url", "nobody"]}).json()
    assert (found["considered"], found["by"], found["unknown_allowed"]) == (2, "lexical", ["nobody"])
    tool = found["tools"][0]
    assert tool["name"] == "calculate" and tool["score"] >= 1
    assert tool["inputSchema"]["type"] == "object" and tool["annotations"]["readOnlyHint"] is True
    assert tool["_meta"]["capibara6/timeout_seconds"] == 5
    assert pair.offered("12*3", allowed=["fetch_url"]) == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"query": ""}, "empty_query"),
        ({"query": "  \n"}, "empty_query"),
        ({"query": "x" * 32_001}, "query_too_long"),
        ({"query": 7}, "invalid_field"),
        ({"query": "a", "limit": 0}, "invalid_field"),
        ({"query": "a", "limit": 17}, "invalid_field"),
        ({"query": "a", "allowed": "calculate"}, "invalid_field"),
        ({}, "invalid_field"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong(pair: Pair, body: dict[str, Any], code: str) -> None:
    reply = pair.post("/select", body)
    assert (reply.status_code, reply.json()["code"]) == (422, code), reply.text


def test_older_clients_get_context_only_where_it_is_needed(pair: Pair) -> None:
    eventually(
        lambda: pair.post("/analyze", {"query": "¿Quién eres?"}).json()["needs_context"], 20, "contexts are read"
    )
    known = pair.post("/analyze", {"query": "¿Quién eres?"}).json()
    assert "self-hosted" in known["augmented_prompt"] and known["contexts_added"] == 1
    plain = pair.post("/analyze", {"query": "¿Quién escribió el Quijote?"}).json()
    assert plain == {
        "needs_context": False, "original_query": "¿Quién escribió el Quijote?", "contexts_added": 0,
        "augmented_prompt": "¿Quién escribió el Quijote?", "lightweight": True,
    }  # fmt: skip
    today = pair.post("/analyze", {"query": "What day is it today?"}).json()["augmented_prompt"]
    assert str(datetime.now(UTC).year) in today and today.endswith("What day is it today?")
    assert "1+2 = 3\n" in pair.post("/analyze", {"query": "¿Cuánto es 1+2?"}).json()["augmented_prompt"]
    assert httpx.get(f"{pair.smart}/health").json()["status"] == "healthy"


@pytest.mark.parametrize("mode", MODES)
async def test_tools_are_found_and_called(pair: Pair, mode: str) -> None:
    async with Client(f"{pair.smart}/mcp", mode=mode) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"find_tools", "call_tool"}
        found = await client.call_tool("find_tools", {"query": "How much is 2 + 3?"})
        assert [tool["name"] for tool in found.structured_content["tools"]] == ["calculate"]
        result = await client.call_tool("call_tool", {"name": "calculate", "arguments": {"expression": "2+3"}})
        assert not result.is_error and result.structured_content["result"] == "5"
        as_text = await client.call_tool("call_tool", {"name": "calculate", "arguments": '{"expression": "2+5"}'})
        assert as_text.structured_content["result"] == "7"


@pytest.mark.parametrize("mode", MODES)
async def test_where_the_query_is_known_the_needed_tools_are_listed(pair: Pair, mode: str) -> None:
    asked = types.PaginatedRequestParams.model_validate({"_meta": {"capibara6/query": "calcula 3*4"}})
    async with Client(f"{pair.smart}/mcp", mode=mode) as client:
        listed = await client.session.list_tools(params=asked)
        assert [tool.name for tool in listed.tools] == ["find_tools", "call_tool", "calculate"]
        assert (await client.call_tool("calculate", {"expression": "3+4"})).structured_content["result"] == "7"
        again = {tool.name for tool in (await client.session.list_tools()).tools}
        assert ("calculate" in again) is (mode == "legacy"), "a session remembers, a request does not"


@pytest.mark.parametrize("mode", MODES)
async def test_what_a_client_says_beside_its_call_goes_through(pair: Pair, mode: str) -> None:
    conversation, trace = str(uuid.uuid4()), "ab" * 16
    meta: Any = {
        "capibara6/conversation_id": conversation, "capibara6/locale": "es", "traceparent": f"00-{trace}-{'12' * 8}-01",
    }  # fmt: skip
    async with Client(f"{pair.smart}/mcp", mode=mode) as client:
        caller = (await client.call_tool("call_tool", {"name": "tell_caller"}, meta=meta)).structured_content
        assert (caller["conversation_id"], caller["locale"], caller["trace_id"]) == (conversation, "es", trace)


@pytest.mark.parametrize("mode", MODES)
async def test_progress_comes_through_and_a_client_that_gives_up_ends_the_tool(pair: Pair, mode: str) -> None:
    async with Client(f"{pair.smart}/mcp", mode=mode) as client:

        async def count() -> float:
            told = (await client.call_tool("call_tool", {"name": "ended"})).structured_content
            return float(told["total"])

        before, heard = await count(), asyncio.Queue[str | None]()

        async def hear(done: float, total: float | None, message: str | None) -> None:
            heard.put_nowait(message)

        waiting = asyncio.create_task(client.call_tool("call_tool", {"name": "wait_long"}, progress_callback=hear))
        assert [await asyncio.wait_for(heard.get(), 10) for _ in range(2)] == ["step 0", "step 1"]
        waiting.cancel()
        for _ in range(200):
            if await count() == before + 1:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("the tool was not ended")


@pytest.mark.parametrize("mode", MODES)
async def test_what_fails_says_why(pair: Pair, mode: str) -> None:
    async with Client(f"{pair.smart}/mcp", mode=mode) as client:
        failed = await client.call_tool("call_tool", {"name": "fail"})
        assert failed.is_error and "take an umbrella" in text_of(failed)
        wrong = await client.call_tool("call_tool", {"name": "calculate", "arguments": {"x": 1}})
        assert wrong.is_error and "expression" in text_of(wrong)
        for arguments, said in (
            ({"name": "nobody"}, "nobody"), ({}, "name"), ({"name": "calculate", "arguments": "{"}, "arguments"),
            ({"name": "calculate", "arguments": [1]}, "arguments"), ({"name": "call_tool"}, "call_tool"),
        ):  # fmt: skip
            refused = await client.call_tool("call_tool", arguments)
            assert refused.is_error and said in text_of(refused)
        for arguments in ({}, {"query": ""}, {"query": 3}, {"query": "a", "limit": 99}):
            assert (await client.call_tool("find_tools", arguments)).is_error
        with pytest.raises(MCPError, match="find_tools"):
            await client.call_tool("nobody", {})


def test_a_flood_of_questions_is_answered(pair: Pair) -> None:
    def ask(number: int) -> int:
        return len(pair.offered(f"calcula {number}*{number}"))

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(ask, range(300))) == {1}


def test_its_memory_stays_small(pair: Pair) -> None:
    for number in range(50):
        pair.offered(f"word{number} " * 2000)
    assert pair.resident_bytes() < MEMORY_LIMIT_BYTES


def test_log_lines_of_a_call_carry_its_run_and_trace_in_both_services(pair: Pair) -> None:
    run, trace = str(uuid.uuid4()), "cd" * 16
    body = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "calculate", "arguments": {"expression": "1+1"}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientInfo":
            {"name": "t", "version": "1"}, "io.modelcontextprotocol/clientCapabilities": {}}},
    }  # fmt: skip
    headers = {
        "accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call", "mcp-name": "calculate", "x-capibara6-run-id": run,
        "traceparent": f"00-{trace}-{'12' * 8}-01",
    }  # fmt: skip
    assert httpx.post(f"{pair.smart}/mcp", json=body, headers=headers).json()["result"]["isError"] is False
    for service in ("smart-mcp", "mcp-server"):

        def lines(service: str = service) -> list[str]:
            return [line for line in pair.home.log(service).splitlines() if run in line]

        assert all(trace in line for line in eventually(lines, 10, f"{service} logs the call"))


def test_the_mcp_server_away_is_said_and_what_is_known_is_still_offered(pair: Pair) -> None:
    """The last of this module: it stops the server."""
    pair.stop("mcp-server")
    eventually(lambda: "away" in httpx.get(f"{pair.smart}/health/ready").json()["checks"]["mcp-server"], 20, "noticed")
    assert pair.offered("calcula 2*3") == ["calculate"]

    async def call() -> types.CallToolResult:
        async with Client(f"{pair.smart}/mcp") as client:
            return await client.call_tool("call_tool", {"name": "calculate", "arguments": {"expression": "1+1"}})

    answer = asyncio.run(call())
    assert answer.is_error and "cannot be reached" in text_of(answer) and "try later" in text_of(answer)


def test_before_any_tools_are_known_it_says_so() -> None:
    alone = Pair()
    try:
        alone.start_smart()
        reply = alone.post("/select", {"query": "calcula 2*3"})
        assert (reply.status_code, reply.json()["code"], reply.headers["retry-after"]) == (503, "tools_unknown", "1")
        assert httpx.get(f"{alone.smart}/health/ready").status_code == 503
        assert alone.post("/analyze", {"query": "hola"}).json()["needs_context"] is False
    finally:
        alone.close()


async def test_open_streams_end_with_the_service() -> None:
    """Told to wait for them for longer than a test may take: they are ended at the stop signal."""
    made = Pair(CAPIBARA6_GRACEFUL_STOP_SECONDS="90")
    accept = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
    about = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    try:
        made.start_smart()
        async with httpx.AsyncClient(timeout=60) as http:
            asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": about}
            opened = await http.post(f"{made.smart}/mcp", json=asked, headers=accept)
            told = {**accept, "mcp-session-id": opened.headers["mcp-session-id"]}
            async with http.stream("GET", f"{made.smart}/mcp", headers=told) as stream:
                assert stream.status_code == 200
                await asyncio.to_thread(made.stop, "smart-mcp")  # waits for the process
        assert "what runs beside the requests failed" not in (made.home.home / "smart-mcp.log").read_text()
    finally:
        made.close()
