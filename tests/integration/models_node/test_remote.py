"""A model that is a remote OpenAI-compatible backend: addressed by its own name and key, and only where allowed."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from models_node.catalogue import Catalogue, parse_catalogue
from models_node.errors import CatalogueError
from models_node.server.app import assemble, check_destinations
from models_node.server.backends import Backends
from stack.settings import Settings

REPLY = {"object": "chat.completion", "model": "their-name", "choices": []}


def catalogue(url: str) -> Catalogue:
    return parse_catalogue(
        f"""
default = "far"
[limits]
memory_budget = 1
[[models]]
id = "far"
domain = "general"
description = ""
context_length = 1
remote_url = "{url}"
remote_model = "their-name"
remote_key_env = "FAR_KEY"
""",
        "test",
    )


class NoEngines:
    def prepare(self) -> list[int]:
        return []

    def close(self) -> None:
        pass

    async def launch(self, entry: object) -> Any:
        raise AssertionError("a remote model has no engine")


@pytest.fixture
async def backend() -> AsyncIterator[tuple[str, list[tuple[str, Any]]]]:
    """A backend's base URL, and what it was sent: authorization and body."""
    seen: list[tuple[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.headers.get("authorization", ""), await request.json()))
        reply = web.json_response(REPLY)
        reply.enable_compression(web.ContentCoding.gzip)  # which is undone here, and so must not be told
        return reply

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
        await runner.cleanup()


async def ask(models: Catalogue, home: Path) -> httpx.Response:
    app = assemble(Settings(home=home), None, models, NoEngines())
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        assert (await client.get("/health/ready")).status_code == 200
        return await client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})


async def test_it_is_asked_under_its_own_name_with_its_own_key(
    backend: tuple[str, list[tuple[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAR_KEY", "theirs")
    url, seen = backend
    reply = await ask(catalogue(url), tmp_path)
    assert (reply.status_code, reply.json()) == (200, REPLY)
    assert reply.headers["x-capibara6-model"] == "far" and "content-encoding" not in reply.headers
    ((authorization, body),) = seen
    assert authorization == "Bearer theirs"
    assert body["model"] == "their-name"


async def test_a_backend_that_is_not_there_is_a_502(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        reply = await ask(catalogue(f"http://127.0.0.1:{unused.getsockname()[1]}"), tmp_path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (502, "backend_failed")


def test_a_destination_that_the_topology_does_not_list_is_refused(tmp_path: Path) -> None:
    topology = tmp_path / "topology.toml"
    nodes = '[nodes.services]\naddress = "127.0.0.1"\n[nodes.frontend]\naddress = "127.0.0.1"\n'
    settings = Settings(home=tmp_path, topology=topology)
    topology.write_text(f'[nodes.models-europe]\naddress = "127.0.0.1"\n{nodes}')
    with pytest.raises(CatalogueError, match=r"model far: remote_url: far\.example:8000 is not among"):
        check_destinations(catalogue("http://far.example:8000"), settings)
    for allowed in ("far.example", "far.example:8000"):
        entry = f'address = "127.0.0.1"\nallowed_destinations = ["{allowed}"]\n'
        topology.write_text(f"[nodes.models-europe]\n{entry}{nodes}")
        check_destinations(catalogue("http://far.example:8000"), settings)


async def test_the_session_is_closed_with_the_server() -> None:
    backends = Backends()
    backends.remote("http://127.0.0.1:9/v1/models", b"", {})
    await backends.close()
    reply = backends.remote("http://127.0.0.1:9/v1/models", b"", {})
    with pytest.raises(RuntimeError, match="closed"):
        await reply.open()
