"""Interactive before batch, and models that embed beside models that write."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from models_node.catalogue import Catalogue, parse_catalogue
from tests.integration.models_node.scripted import (
    CATALOGUE,
    CHAT,
    ENTRY,
    ScriptedEngine,
    error_of,
    eventually,
    serving,
    streamed,
    tells_three_words,
)

BATCH = {"x-capibara6-priority": "batch"}


def with_embeddings() -> Catalogue:
    embeds = ENTRY.format("e") + "capabilities = { embeddings = true }\n"
    return parse_catalogue('default = "a"\n[limits]\nmemory_budget = "7 GiB"\n' + ENTRY.format("a") + embeds, "test")


@pytest.mark.parametrize(("headers", "told"), [({}, "0"), (BATCH, "10"), ({"X-Capibara6-Priority": "Batch"}, "10")])
async def test_the_engine_hears_the_class_whatever_the_body_says(
    tmp_path: Path, headers: dict[str, str], told: str
) -> None:
    async with serving(tmp_path, tells_three_words) as (client, launcher, _):
        await client.post("/v1/chat/completions", json={**CHAT, "priority": -100}, headers=headers)
        seen, body = launcher.engines[0].seen[0]
        assert {name.lower(): value for name, value in seen.items()}["x-vllm-priority"] == told
        assert body["priority"] == -100  # vLLM takes the header's


async def test_any_other_class_is_refused_by_name(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, launcher, _):
        reply = await client.post("/v1/chat/completions", json=CHAT, headers={"x-capibara6-priority": "urgent"})
        error = error_of(reply)
        assert (reply.status_code, error["code"], error["param"]) == (400, "invalid_priority", "x-capibara6-priority")
        assert "interactive or batch" in error["message"] and not launcher.engines


async def test_batch_waits_behind_people_and_stats_tell_both_queues(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def one_at_a_time(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        reply = await streamed(request)
        await release.wait()
        await reply.write(b"data: [DONE]\n\n")
        return reply

    models = tuple(entry.model_copy(update={"max_concurrent": 1}) for entry in CATALOGUE.models)
    catalogue = CATALOGUE.model_copy(update={"models": models})
    async with serving(tmp_path, one_at_a_time, catalogue=catalogue) as (client, launcher, _):

        def ask(name: str, headers: dict[str, str]) -> asyncio.Task[Any]:
            body = {"messages": [{"role": "user", "content": name}], "stream": True}
            return asyncio.create_task(client.post("/v1/chat/completions", json=body, headers=headers))

        async def waiting() -> dict[str, int]:
            counted: dict[str, int] = (await client.get("/stats")).json()["models"][0]["waiting"]
            return counted

        asked = [ask("first", {})]
        await eventually(lambda: bool(launcher.engines and launcher.engines[0].seen))
        asked.append(ask("batch", BATCH))
        await eventually(lambda: _equals(waiting, {"interactive": 0, "batch": 1}))
        asked.append(ask("person", {}))
        await eventually(lambda: _equals(waiting, {"interactive": 1, "batch": 1}))
        metrics = (await client.get("/metrics")).text
        assert 'capibara6_model_waiting{model="a",priority="batch"} 1.0' in metrics
        release.set()
        await asyncio.gather(*asked)
        order = [body["messages"][0]["content"] for _, body in launcher.engines[0].seen]
        assert order == ["first", "person", "batch"]


async def _equals(ask: Any, wanted: dict[str, int]) -> bool:
    return bool(await ask() == wanted)


async def test_embeddings_go_to_the_model_that_embeds_and_chats_do_not(tmp_path: Path) -> None:
    async def embeds(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        return web.json_response({"object": "list", "data": []})

    async with serving(tmp_path, embeds, catalogue=with_embeddings()) as (client, launcher, _):
        for model in ({}, {"model": ""}, {"model": "auto"}, {"model": "e"}):
            reply = await client.post("/v1/embeddings", json={"input": "hola", **model}, headers=BATCH)
            assert reply.status_code == 200 and reply.headers["x-capibara6-model"] == "e"
        assert [engine.entry.id for engine in launcher.engines] == ["e"]
        bodies = [body for _, body in launcher.engines[0].seen if body["input"] == "hola"]
        # For embeddings vLLM has only the field.
        assert bodies == [{"input": "hola", "model": "e", "priority": 10}] * 4
        reply = await client.post("/v1/embeddings", json={"input": "hola", "model": "a"})
        assert (reply.status_code, error_of(reply)["code"]) == (400, "wrong_kind_of_model")
        assert "these do: e" in error_of(reply)["message"]
        reply = await client.post("/v1/chat/completions", json={**CHAT, "model": "e"})
        assert (reply.status_code, error_of(reply)["code"]) == (400, "wrong_kind_of_model")
        assert len(launcher.engines) == 1


async def test_without_a_model_that_embeds_it_is_said(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, _, _):
        reply = await client.post("/v1/embeddings", json={"input": "hola"})
        assert (reply.status_code, error_of(reply)["code"]) == (404, "no_embedding_model")
