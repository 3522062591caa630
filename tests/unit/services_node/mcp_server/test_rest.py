"""The REST of older clients, on the application without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from services_node.mcp_server.app import application
from services_node.mcp_server.registry import Registry, ToolFailed
from stack.settings import Settings

DOCUMENTS = {"company_info": "Somos un equipo.", "technical_specs": "Three machines. " * 10}


@dataclass(frozen=True)
class Document:
    id: str
    name: str
    description: str = "…"
    keywords: tuple[str, ...] = ("equipo",)


class Documents:
    def list(self) -> Sequence[Document]:
        return [Document(name, name.title()) for name in DOCUMENTS]

    def read(self, context_id: str) -> str:
        return DOCUMENTS[context_id]

    def choose(self, prompt: str) -> Sequence[str]:
        return ["company_info"] if "equipo" in prompt else []


class Result(BaseModel):
    result: str


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    registry = Registry()

    @registry.tool(title="Calculator", timeout_seconds=5, cost="cheap", keywords={})
    async def calculate(expression: str) -> Result:
        """Counts."""
        if "/0" in expression:
            raise ToolFailed("Nothing divides by zero.")
        return Result(result=str(expression.count("1")))

    app = application(Settings(home=tmp_path, mcp_result_chars=100), None, registry, Documents())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost/api/mcp/") as client:
        yield client


async def test_health_status_and_tools_have_the_members_older_clients_read(client: httpx.AsyncClient) -> None:
    health = (await client.get("health")).json()
    assert set(health) == {"status", "service", "contexts_available", "tools_available", "timestamp"}
    assert (health["contexts_available"], health["tools_available"]) == (2, 1)
    status = (await client.get("status")).json()
    assert status["protocol_versions"][:2] == ["2026-07-28", "2025-11-25"]
    assert (status["tools"], status["contexts"], status["servers"]) == (1, 2, [])
    tools = (await client.get("tools")).json()
    assert tools["total"] == 1
    assert tools["tools"][0]["inputSchema"]["required"] == ["expression"]


async def test_contexts_are_listed_and_read(client: httpx.AsyncClient) -> None:
    listed = (await client.get("contexts")).json()
    assert listed["total"] == 2
    assert listed["contexts"][0] == {
        "id": "company_info",
        "name": "Company_Info",
        "description": "…",
        "keywords": ["equipo"],
    }
    assert (await client.get("context/company_info")).json()["content"] == "Somos un equipo."
    missing = await client.get("context/nothing")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_context")


@pytest.mark.parametrize(
    ("body", "used"),
    [
        ({"prompt": "¿Quién es el equipo?"}, ["company_info"]),
        ({"prompt": "Hola"}, []),
        ({"prompt": "Hola", "contexts": []}, []),
        ({"prompt": "Hola", "contexts": ["technical_specs", "company_info", "company_info"]}, [
            "technical_specs", "company_info"
        ]),
    ],
)  # fmt: skip
async def test_a_prompt_is_augmented_within_its_bound(
    client: httpx.AsyncClient, body: dict[str, Any], used: list[str]
) -> None:
    reply = (await client.post("augment", json=body)).json()
    assert (reply["original_prompt"], reply["contexts_used"]) == (body["prompt"], used)
    assert reply["augmented_prompt"].endswith(body["prompt"])
    if not used:
        assert reply["augmented_prompt"] == body["prompt"]
    if "technical_specs" in used:
        assert "more characters are left out" in reply["augmented_prompt"]


async def test_sums_are_done_or_told_why_not(client: httpx.AsyncClient) -> None:
    assert (await client.post("calculate", json={"expression": "1+1"})).json() == {"expression": "1+1", "result": "2"}
    refused = await client.post("calculate", json={"expression": "1/0"})
    assert (refused.status_code, refused.json()["error"]) == (422, "Nothing divides by zero.")
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("calculate", {}, "expression"),
        ("calculate", {"expression": "1" * 1001}, "expression"),
        ("augment", {"prompt": ""}, "prompt"),
        ("augment", {"prompt": "x", "contexts": ["nothing"]}, "contexts"),
        ("augment", {"prompt": "x", "contexts": "company_info"}, "contexts"),
    ],
)
async def test_wrong_bodies_name_their_field(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    reply = await client.post(path, json=body)
    assert (reply.status_code, reply.json()["param"]) == (422, param)
