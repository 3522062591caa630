"""What is held of 5003: bounded, kept while it is away, read anew."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench._smart_questions import tools
from services_node.smart_mcp.catalogue import AWAY, OK, Bounds, Catalogue, held
from wire.errors import Unavailable

NINE_TOOLS = tools()

BOUNDS = Bounds(tools=20, tool_chars=4_000, contexts=2, context_chars=30)


class Server:
    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] = NINE_TOOLS
        self.away = False
        self.contexts = ["company_info", "technical_specs", "third"]
        self.asked = asyncio.Event()

    async def tools(self) -> list[dict[str, Any]]:
        self.asked.set()
        if self.away:
            raise Unavailable("nobody answers")
        return self.listed

    async def get_json(self, path: str, **params: Any) -> Any:
        if path == "/api/mcp/contexts":
            return {"contexts": [{"id": name, "name": name} for name in self.contexts]}
        return {
            "context_id": path,
            "name": path,
            "data": {"product": "Capibara6", "models": ["a", "b"], "more": "x" * 50},
        }


async def test_what_is_held_has_bounds() -> None:
    long = {**NINE_TOOLS[0], "name": "long", "description": "x" * 5_000}
    many = [{**NINE_TOOLS[1], "name": f"tool_{number}"} for number in range(40)]
    kept = held([{"name": "no schema"}, long, NINE_TOOLS[0], NINE_TOOLS[0], *many], BOUNDS)
    assert len(kept) == 20
    assert [tool.name for tool in kept[:2]] == [NINE_TOOLS[0]["name"], "tool_0"]


async def test_contexts_are_cut_and_told_as_lines() -> None:
    catalogue = Catalogue(Server(), BOUNDS, 60)
    await catalogue.refresh()
    assert [context.id for context in catalogue.contexts] == ["company_info", "technical_specs"]
    assert catalogue.contexts[0].text == "product: Capibara6\nmodels: a, b"[:30]


async def test_tools_are_offered_also_when_contexts_cannot_be_read() -> None:
    server = Server()
    server.contexts = [None]  # type: ignore[list-item]
    catalogue = Catalogue(server, BOUNDS, 60)
    await catalogue.refresh()
    assert catalogue.index is not None and catalogue.state == OK


async def test_what_is_known_is_kept_while_5003_is_away_and_read_anew_when_it_is_back() -> None:
    server = Server()
    catalogue = Catalogue(server, BOUNDS, 0.001)
    keeping = asyncio.create_task(catalogue.keep())
    try:
        await _until(lambda: catalogue.index is not None)
        known = catalogue.index
        server.away = True
        await _until(lambda: catalogue.state.startswith(AWAY))
        assert catalogue.index is known and "nobody answers" in catalogue.state
        server.away, server.listed = False, NINE_TOOLS[:3]
        await _until(lambda: catalogue.state == OK)
        assert catalogue.index is not None and len(catalogue.index.tools) == 3
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def test_an_unchanged_list_keeps_the_index() -> None:
    catalogue = Catalogue(Server(), BOUNDS, 60)
    await catalogue.refresh()
    first = catalogue.index
    await catalogue.refresh()
    assert catalogue.index is first


async def test_a_first_answer_that_fails_raises_and_leaves_nothing() -> None:
    server = Server()
    server.away = True
    catalogue = Catalogue(server, BOUNDS, 60)
    with pytest.raises(Unavailable):
        await catalogue.refresh()
    assert catalogue.index is None


async def _until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
