"""Tools that ask the chat API, over MCP and with the real one behind them; only models and sandboxes are fake."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from installation import Installation, eventually
from mcp_clients import MODERN, connected, until, words

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="


@pytest.fixture(scope="module")
def mcp(stack: Installation) -> Iterator[str]:
    """The product's own MCP server in the same installation."""
    stack.start("mcp-server")
    url = stack.url("mcp-server")
    eventually(lambda: httpx.get(f"{url}/health/live").status_code == 200, 60, "the MCP server answers")
    yield url
    stack.stop("mcp-server")


@pytest.fixture
async def api(stack: Installation) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.url("chat-api"), timeout=30) as client:
        yield client


@pytest.fixture
async def rest(mcp: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{mcp}/api/mcp", timeout=30) as client:
        yield client


async def used(mcp: str, tool: str, **arguments: Any) -> Any:
    async with connected(f"{mcp}/mcp", MODERN) as client:
        return await client.call_tool(tool, arguments)


async def every_resource(client: Any) -> set[str]:
    page = await client.list_resources()
    found = {str(one.uri) for one in page.resources}
    while page.next_cursor:
        page = await client.list_resources(cursor=page.next_cursor)
        found |= {str(one.uri) for one in page.resources}
    return found


async def test_every_tool_of_the_product_is_offered_with_what_is_promised_of_it(mcp: str) -> None:
    async with connected(f"{mcp}/mcp", MODERN) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {
        "run_python", "calculate", "current_datetime", "search_conversations", "get_run", "list_models", "start_flow",
        "flow_status", "fetch_url", "speak",
    }  # fmt: skip
    changing = {name for name, tool in tools.items() if not tool.annotations.read_only_hint}
    assert changing == {"run_python", "start_flow"}
    assert tools["fetch_url"].meta["capibara6/untrusted"] and tools["fetch_url"].annotations.open_world_hint
    for tool in tools.values():
        assert tool.output_schema and tool.meta["capibara6/keywords"].keys() == {"es", "en"}


async def test_calculating_and_the_time_need_nobody_else(mcp: str, rest: httpx.AsyncClient) -> None:
    found = await used(mcp, "calculate", expression="¿Cuánto es 17 por 23?")
    assert found.structured_content["value"] == 391 and words(found) == "¿Cuánto es 17 por 23? = 391"
    refused = await used(mcp, "calculate", expression="9^9^9^9")
    assert refused.is_error and "too large" in words(refused)
    assert (await used(mcp, "current_datetime", time_zone="Madrid")).structured_content["time_zone"] == "Europe/Madrid"
    assert (await used(mcp, "current_datetime", time_zone="Atlantis")).is_error
    older = (await rest.post("/calculate", json={"expression": "2 + 2"})).json()
    assert (older["expression"], older["result"]) == ("2 + 2", "4")


async def test_code_runs_in_a_run_of_its_own_with_files_in_and_out(mcp: str, api: httpx.AsyncClient) -> None:
    code = (
        "print((home / 'data.csv').read_text().upper())\n(home / 'made.txt').write_text('hecho')\n"
        f"show(png='{PIXEL}', text='<figure>')"
    )
    given = [{"name": "data.csv", "content_base64": base64.b64encode("año".encode()).decode()}]
    found = await used(mcp, "run_python", code=code, files=given)
    assert not found.is_error, words(found)
    assert "AÑO" in words(found)
    kinds = [block.type for block in found.content]
    assert kinds.count("image") == 1 and kinds.count("resource_link") == 2
    told = found.structured_content
    story = (await api.get(f"/api/runs/{told['run_id']}")).json()
    assert story["kind"] == "code" and story["status"] == "completed"
    made = next(file for file in told["files"] if file["name"] == "made.txt")
    async with connected(f"{mcp}/mcp", MODERN) as client:
        (text,) = (await client.read_resource(made["uri"])).contents
        (run,) = (await client.read_resource(f"capibara6://runs/{told['run_id']}")).contents
    assert text.text == "hecho"
    assert json.loads(run.text)["id"] == told["run_id"]
    assert "run_code: completed" in words(await used(mcp, "get_run", run_id=told["run_id"]))


async def test_an_error_of_the_code_is_a_failed_call_with_all_that_is_known_of_it(mcp: str) -> None:
    found = await used(mcp, "run_python", code="print(1); 1 / 0")
    assert found.is_error and found.structured_content["stdout"] == "1\n"
    assert found.structured_content["error"]["name"] == "ZeroDivisionError"
    assert "ZeroDivisionError" in words(found) and "Output:\n1" in words(found)


async def test_a_call_that_is_given_up_cancels_its_run(mcp: str, api: httpx.AsyncClient) -> None:
    began = asyncio.Event()

    async def progress(done: float, total: float | None, message: str | None) -> None:
        began.set()

    async def waiting() -> None:
        async with connected(f"{mcp}/mcp", MODERN) as client:
            await client.call_tool("run_python", {"code": "print('on it'); wait(60)"}, progress_callback=progress)

    before = {run["id"] for run in (await api.get("/api/runs")).json()["runs"]}
    call = asyncio.create_task(waiting())
    async with asyncio.timeout(30):
        await began.wait()
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call

    async def ended() -> bool:
        return all(
            run["status"] == "cancelled"
            for run in (await api.get("/api/runs")).json()["runs"]
            if run["id"] not in before
        )

    await until(ended, 20, "the run is cancelled")


async def test_models_and_conversations_can_be_read(mcp: str, api: httpx.AsyncClient) -> None:
    assert (await used(mcp, "list_models")).structured_content["models"]
    chat = (await api.post("/api/chat", json={"message": "hola capibara"})).json()
    async with connected(f"{mcp}/mcp", MODERN) as client:
        (told,) = (await client.read_resource(f"capibara6://conversations/{chat['conversation_id']}")).contents
        (about,) = (await client.read_resource("capibara6://contexts/company_info")).contents
        prompt = await client.get_prompt("summarise", {"text": "Un texto.", "language": "es"})
        listed = await every_resource(client)
    assert "## User" in told.text and "hola capibara" in told.text and "## Assistant" in told.text
    assert "Capibara6" in about.text and "Un texto." in prompt.messages[0].content.text
    assert {"capibara6://models", "capibara6://contexts/current_date"} <= listed
    assert f"capibara6://conversations/{chat['conversation_id']}" in listed


async def test_what_is_not_there_is_told(mcp: str) -> None:
    found = await used(mcp, "get_run", run_id="00000000-0000-7000-8000-000000000000")
    assert found.is_error and "among yours" in words(found)


async def test_a_private_address_is_not_fetched(mcp: str, stack: Installation) -> None:
    for url in (stack.url("chat-api"), "http://169.254.169.254/", "http://localhost/", "http://[::ffff:127.0.0.1]/"):
        found = await used(mcp, "fetch_url", url=url)
        assert found.is_error and ("not fetched" in words(found) or "public pages" in words(found)), words(found)


async def test_contexts_are_offered_to_older_clients(rest: httpx.AsyncClient) -> None:
    listed = (await rest.get("/contexts")).json()
    assert {"company_info", "technical_specs", "current_date"} <= {one["id"] for one in listed["contexts"]}
    told = (await rest.post("/augment", json={"prompt": "¿Quién eres?"})).json()
    assert told["contexts_used"] == ["company_info"] and told["augmented_prompt"].endswith("¿Quién eres?")
    assert (await rest.get("/context/..%2Fsecrets")).status_code == 404


async def test_earlier_conversations_are_found_by_their_words(mcp: str, api: httpx.AsyncClient) -> None:
    await api.post("/api/chat", json={"message": "Hablemos de los ornitorrincos australianos"})
    found = await used(mcp, "search_conversations", query="ornitorrinco")
    assert not found.is_error, words(found)
    assert "ornitorrincos" in found.structured_content["results"][0]["snippet"].lower().replace("«", "")
    assert not (await used(mcp, "search_conversations", query="xilofonista")).structured_content["results"]


async def test_a_flow_is_started_and_told_until_it_is_done(mcp: str) -> None:
    unknown = await used(mcp, "start_flow", flow="nothing", parameters={})
    assert unknown.is_error and "chat" in words(unknown) and "code" in words(unknown)
    wrong = await used(mcp, "start_flow", flow="code", parameters={"code": 5})
    assert wrong.is_error and "code" in words(wrong)
    started = await used(mcp, "start_flow", flow="code", parameters={"code": "print(6 * 7)"})
    assert not started.is_error, words(started)
    run_id = started.structured_content["run_id"]

    async def finished() -> bool:
        return bool((await used(mcp, "flow_status", run_id=run_id)).structured_content["finished"])

    await until(finished, 30, "the flow is done")
    assert (await used(mcp, "flow_status", run_id=run_id)).structured_content["status"] == "completed"
