"""Another service of the node shares the models' memory: its client, over real sockets, and small engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from models_node.server.app import assemble
from stack.secrets import ensure_secrets
from stack.settings import Settings
from tests.integration.models_node.scripted import (
    CATALOGUE,
    CHAT,
    Launcher,
    error_of,
    eventually,
    never_ends,
    serving,
    tells_three_words,
)
from wire.clients.memory import NodeMemoryClient
from wire.errors import ApiError

GIB = 2**30
PUBLIC = """
[nodes.models-europe]
address = "192.0.2.1"
[nodes.services]
address = "192.0.2.2"
[nodes.frontend]
address = "192.0.2.3"
"""


@asynccontextmanager
async def memory_of(client: httpx.AsyncClient) -> AsyncIterator[NodeMemoryClient]:
    """The client that sandboxes use, of the server that `client` speaks to."""
    memory = NodeMemoryClient(str(client.base_url))
    try:
        yield memory
    finally:
        await memory.close()


async def standing(client: httpx.AsyncClient) -> dict[str, Any]:
    memory: dict[str, Any] = (await client.get("/stats")).json()["memory"]
    return memory


async def test_what_is_held_stands_in_the_ledger_until_it_is_released(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, _, _), memory_of(client) as memory:
        await memory.hold("sandboxes", 2 * GIB, in_use=False, ttl_seconds=60)
        told = await standing(client)
        assert (told["used_bytes"], told["free_bytes"]) == (2 * GIB, 5 * GIB)
        (holder,) = told["holders"]
        assert (holder["holder"], holder["bytes"]) == ("sandboxes", 2 * GIB)
        assert 0 < holder["expires_seconds"] <= 60
        metrics = (await client.get("/metrics")).text
        families = {family.name: family for family in text_string_to_metric_families(metrics)}
        assert ({"kind": "holders"}, 2 * GIB) in [s[1:3] for s in families["capibara6_memory_bytes"].samples]
        await memory.release("sandboxes")
        await memory.release("sandboxes")
        assert (await standing(client))["holders"] == []


async def test_the_answer_says_what_is_free(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, _, _):
        reply = await client.put("/memory/holders/sandboxes", json={"bytes": GIB, "ttl_seconds": 30})
        assert (reply.status_code, reply.json()) == (
            200,
            {"holder": "sandboxes", "bytes": GIB, "free_bytes": 6 * GIB},
        )


async def test_an_idle_model_makes_room_for_a_holder_and_comes_back_when_there_is_room(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words, model_min_residence_seconds=0) as (client, launcher, _):
        launcher.engine_bytes = 3 * GIB
        for model in ("a", "b"):
            assert (await client.post("/v1/chat/completions", json={**CHAT, "model": model})).status_code == 200
        async with memory_of(client) as memory:
            await memory.hold("sandboxes", 3 * GIB, in_use=False, ttl_seconds=60)
            assert [engine.stopped for engine in launcher.engines] == [True, False]
            await memory.hold("sandboxes", GIB // 2, in_use=False, ttl_seconds=60)
            assert (await client.post("/v1/chat/completions", json={**CHAT, "model": "a"})).status_code == 200
            assert [engine.entry.id for engine in launcher.engines] == ["a", "b", "a"]
            assert not launcher.engines[1].stopped


async def test_models_at_work_do_not_go_and_the_holder_is_told_to_come_again(tmp_path: Path) -> None:
    async with serving(tmp_path, never_ends, memory_hold_wait_seconds=0.2) as (client, launcher, _):
        launcher.engine_bytes = 3 * GIB
        working = client.stream("POST", "/v1/chat/completions", json={**CHAT, "model": "a", "stream": True})
        async with memory_of(client) as memory, working as reply:
            pieces = reply.aiter_raw()
            await anext(pieces)
            await memory.hold("sandboxes", 2 * GIB, in_use=False, ttl_seconds=60)
            with pytest.raises(ApiError) as caught:
                await memory.hold("sandboxes", 5 * GIB, in_use=False, ttl_seconds=60)
            assert (caught.value.status, caught.value.code) == (503, "out_of_memory")
            assert caught.value.retry_after_seconds == 5
            assert (await standing(client))["holders"][0]["bytes"] == 2 * GIB
            await memory.hold("sandboxes", 5 * GIB, in_use=True, ttl_seconds=60)
            assert (await standing(client))["free_bytes"] == -GIB
            assert not launcher.engines[0].stopped


async def test_a_model_waits_for_memory_that_a_holder_has_until_the_holder_falls_silent(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, launcher, _), memory_of(client) as memory:
        await memory.hold("sandboxes", 5 * GIB, in_use=True, ttl_seconds=60)
        asking = asyncio.create_task(client.post("/v1/chat/completions", json={**CHAT, "model": "a"}))

        async def waits() -> bool:
            return bool((await client.get("/stats")).json()["waiting"])

        await eventually(waits)
        assert not launcher.engines
        await memory.hold("sandboxes", 5 * GIB, in_use=True, ttl_seconds=0.05)
        assert (await asking).status_code == 200
        assert (await standing(client))["holders"] == []


async def test_a_model_whose_memory_a_holder_keeps_is_refused_with_the_holders_name(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words, model_queue_timeout_seconds=0.1) as (client, _, _):
        async with memory_of(client) as memory:
            await memory.hold("sandboxes", 5 * GIB, in_use=True, ttl_seconds=60)
        reply = await client.post("/v1/chat/completions", json={**CHAT, "model": "a"})
        assert reply.status_code == 503
        assert error_of(reply)["code"] == "out_of_memory"
        assert "sandboxes 5.0 GiB" in error_of(reply)["message"]
        assert reply.headers["retry-after"]


async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    nonsense: list[tuple[str, dict[str, Any]]] = [
        ("Sand boxes", {"bytes": 1, "ttl_seconds": 1}),
        ("sandboxes", {"bytes": -1, "ttl_seconds": 1}),
        ("sandboxes", {"bytes": 2**60, "ttl_seconds": 1}),
        ("sandboxes", {"bytes": "1", "ttl_seconds": 1}),
        ("sandboxes", {"bytes": 1}),
        ("sandboxes", {"bytes": 1, "ttl_seconds": 0}),
        ("sandboxes", {"bytes": 1, "ttl_seconds": 1e9}),
        ("sandboxes", {"bytes": 1, "ttl_seconds": 1, "forever": True}),
    ]
    async with serving(tmp_path, tells_three_words) as (client, _, _):
        for holder, body in nonsense:
            reply = await client.put(f"/memory/holders/{holder}", json=body)
            assert (reply.status_code, error_of(reply)["code"]) == (422, "invalid_field"), (holder, body)
        assert (await standing(client))["holders"] == []


async def test_a_server_that_cannot_be_reached_is_told_by_name() -> None:
    memory = NodeMemoryClient("http://127.0.0.1:9")
    with pytest.raises(ApiError) as caught:
        await memory.hold("sandboxes", 1, in_use=False, ttl_seconds=1)
    await memory.close()
    assert (caught.value.status, caught.value.code) == (503, "model_server_unreachable")


async def test_the_sandboxes_key_opens_the_ledger_and_nothing_else_and_services_keys_do_not(tmp_path: Path) -> None:
    topology = tmp_path / "topology.toml"
    topology.write_text(PUBLIC)
    settings = Settings(home=tmp_path, topology=topology)
    secrets = ensure_secrets(settings)
    app = assemble(settings, secrets, CATALOGUE, Launcher(tmp_path, tells_three_words))
    app.state.models.pool.start()
    transport = httpx.ASGITransport(app=app)

    async def asked(who: str, method: str, path: str, body: Any = None) -> int:
        key = getattr(secrets, f"{who}_key").get_secret_value()
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            reply = await client.request(method, path, json=body, headers={"authorization": f"Bearer {key}"})
            return reply.status_code

    holding = {"bytes": 1, "ttl_seconds": 1}
    for who in ("sandbox", "operator"):
        assert await asked(who, "PUT", "/memory/holders/sandboxes", holding) == 200
        assert await asked(who, "DELETE", "/memory/holders/sandboxes") == 204
    for method, body in (("PUT", holding), ("DELETE", None)):
        assert await asked("services", method, "/memory/holders/sandboxes", body) == 403
        assert await asked("frontend", method, "/memory/holders/sandboxes", body) == 401
    for path in ("/stats", "/v1/models", "/metrics", "/memory", "/health/../stats"):
        assert await asked("sandbox", "GET", path) == 403, path
    for path in ("/v1/chat/completions", "/models/a/load"):
        assert await asked("sandbox", "POST", path, {}) == 403, path
    assert await asked("services", "GET", "/stats") == 200
    await app.state.models.pool.stop()
