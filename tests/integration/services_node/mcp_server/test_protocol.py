"""What a good client does, in both eras, with the SDK's own client over real HTTP."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from mcp.shared.exceptions import MCPError
from mcp_clients import LEGACY, MODERN, connected, happened, words
from mcp_process import McpProcess
from mcp_types import PromptReference, ResourceTemplateReference

pytestmark = pytest.mark.parametrize("era", [MODERN, LEGACY])
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_tools_are_listed_with_what_is_promised_of_them(trying: McpProcess, era: str) -> None:
    async with connected(trying.mcp, era) as client:
        assert client.protocol_version == era
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    add = tools["add"]
    assert add.annotations is not None
    assert (add.annotations.read_only_hint, add.annotations.destructive_hint) == (True, False)
    assert add.input_schema["required"] == ["numbers"]
    assert add.output_schema is not None
    assert add.meta == {
        "capibara6/timeout_seconds": 5, "capibara6/cost": "cheap", "capibara6/keywords": {"es": ["suma"]}
    }  # fmt: skip
    assert tools["page"].meta is not None
    assert tools["page"].meta["capibara6/untrusted"] is True


async def test_a_call_answers_with_text_and_structure_and_tells_its_progress(trying: McpProcess, era: str) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    async with connected(trying.mcp, era) as client:
        result = await client.call_tool("add", {"numbers": [1, 2.5]}, progress_callback=progress)
    assert (result.is_error, words(result)) == (False, "= 3.5")
    assert result.structured_content == {"total": 3.5, "parts": 2}
    assert told == [(1, 2, "half"), (2, 2, "done")]


async def test_the_callers_run_trace_conversation_and_language_reach_the_tool(trying: McpProcess, era: str) -> None:
    run_id, conversation = str(uuid.uuid4()), str(uuid.uuid4())
    async with connected(trying.mcp, era, {"x-capibara6-run-id": run_id, "accept-language": "es-ES"}) as client:
        plain = (await client.call_tool("who")).structured_content
        meta = {
            "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
            "capibara6/conversation_id": conversation,
            "capibara6/locale": "en",
        }
        told = (await client.call_tool("who", meta=meta)).structured_content
    assert (plain["run_id"], plain["locale"], plain["conversation_id"]) == (run_id, "es", None)
    assert told["trace_id"] == TRACE
    assert (told["conversation_id"], told["locale"], told["principal"]) == (conversation, "en", "local")


async def test_a_cancelled_call_cancels_its_tool_which_cleans_up(trying: McpProcess, era: str) -> None:
    name = f"cancelled in {era}"
    async with connected(trying.mcp, era) as client:
        call = asyncio.create_task(client.call_tool("work", {"name": name}))
        await happened(client, f"{name} began")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await happened(client, f"{name} cleaned up")


async def test_resources_are_listed_page_by_page_and_read(trying: McpProcess, era: str) -> None:
    async with connected(trying.mcp, era) as client:
        found, cursor, pages = [], None, 0
        while True:
            page = await client.list_resources(cursor=cursor)
            found += [str(resource.uri) for resource in page.resources]
            cursor, pages = page.next_cursor, pages + 1
            if cursor is None:
                break
        assert found == ["test://things/one", "test://things/two"]
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == ["test://away/{name}", "test://things/{name}"]
        contents = (await client.read_resource("test://things/one")).contents[0]
        assert contents.text == '{"name": "one", "owner": "local"}'
        for unknown in ("test://things/three", "test://nothing"):
            with pytest.raises(MCPError) as refused:
                await client.read_resource(unknown)
            assert refused.value.code == (-32602 if era == MODERN else -32002)
        with pytest.raises(MCPError) as failed:
            await client.read_resource("test://away/x")
        assert "secret" not in failed.value.message


async def test_arguments_complete(trying: McpProcess, era: str) -> None:
    async with connected(trying.mcp, era) as client:
        thing = ResourceTemplateReference(uri="test://things/{name}")
        assert (await client.complete(thing, {"name": "name", "value": "t"})).completion.values == ["two"]
        with pytest.raises(MCPError, match="Unknown prompt"):
            await client.complete(PromptReference(name="nothing"), {"name": "x", "value": ""})


async def test_a_wrong_cursor_is_refused(trying: McpProcess, era: str) -> None:
    async with connected(trying.mcp, era) as client:
        for ask in (client.list_tools, client.list_resources, client.list_prompts):
            with pytest.raises(MCPError, match="cursor") as refused:
                await ask(cursor="nonsense")
            assert refused.value.code == -32602
