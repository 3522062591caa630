"""Streams whose answer is not there yet: comments keep them alive, failures become events, leaving is noticed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web

from models_node.errors import EngineFailed
from tests.integration.models_node.scripted import (
    CATALOGUE,
    CHAT,
    LIMIT_SECONDS,
    Launcher,
    ScriptedEngine,
    chunk,
    eventually,
    serving,
    streamed,
    tells_three_words,
)
from wire.clients.models import ModelServerClient
from wire.errors import ApiError

STREAM = {**CHAT, "stream": True}
SOON = {"stream_status_wait_seconds": 0.05, "stream_comment_seconds": 0.05}


async def pieces(reply: httpx.Response) -> AsyncIterator[bytes]:
    async for piece in reply.aiter_raw():
        yield piece


async def waiting_of(client: httpx.AsyncClient, model: str = "a") -> int:
    models = (await client.get("/stats")).json()["models"]
    waiting: dict[str, int] = next(m["waiting"] for m in models if m["model"] == model)
    return sum(waiting.values())


async def test_a_load_is_told_in_comments_until_the_answer_begins(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words, **SOON) as (client, launcher, _):
        launcher.slow_start = True
        async with client.stream("POST", "/v1/chat/completions", json={**STREAM, "model": "a"}) as reply:
            assert reply.status_code == 200
            assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert (reply.headers["x-capibara6-model"], reply.headers["x-capibara6-route"]) == ("a", "asked")
            assert (reply.headers["x-accel-buffering"], reply.headers["cache-control"]) == ("no", "no-cache")
            received = pieces(reply)
            assert [await anext(received) for _ in range(3)] == [b": capibara6 loading a, 0 s\n\n"] * 3
            launcher.engines[0].release.set()
            rest = b"".join([piece async for piece in received])
        waited, _, answer = rest[rest.index(b": capibara6 waited") :].partition(b"\n\n")
        assert b" load_ms=" in waited and b" queue_ms=" in waited
        assert answer == chunk("one") + chunk("two") + chunk("three") + b"data: [DONE]\n\n"


async def test_the_next_load_is_told_with_the_time_the_last_one_took(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words, **SOON) as (client, launcher, _):
        await client.post("/models/a/load")
        await client.post("/models/a/unload")
        launcher.slow_start = True
        async with client.stream("POST", "/v1/chat/completions", json=STREAM) as reply:
            assert await anext(pieces(reply)) == b": capibara6 loading a, 0 s of about 0 s\n\n"


async def test_a_prompt_that_takes_long_to_read_is_told_too(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def reads(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        reply = await streamed(request)
        await release.wait()
        await reply.write(chunk("one") + b"data: [DONE]\n\n")
        return reply

    async with serving(tmp_path, reads, **SOON) as (client, _, _), client.stream(
        "POST", "/v1/chat/completions", json=STREAM
    ) as reply:  # fmt: skip
        received = pieces(reply)
        assert await anext(received) == b": capibara6 a reads the prompt, 0 s\n\n"
        release.set()
        assert b"".join([piece async for piece in received]).endswith(chunk("one") + b"data: [DONE]\n\n")


async def test_what_fails_after_the_first_comment_is_an_event(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words, **SOON) as (client, launcher, _):
        launcher.slow_start = True
        async with client.stream("POST", "/v1/chat/completions", json=STREAM) as reply:
            received = pieces(reply)
            await anext(received)
            launcher.engines[0].failure = EngineFailed("exit status 1; log: somewhere")
            launcher.engines[0].release.set()
            *_, last = b"".join([piece async for piece in received]).split(b"\n\n")[:-1]
        error = json.loads(last.removeprefix(b"data: "))["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["code"] == "load_failed" and "exit status 1" in error["message"]


async def test_an_engines_refusal_after_the_first_comment_keeps_the_engines_words(tmp_path: Path) -> None:
    told = {"error": {"message": "too many tokens", "type": "BadRequestError", "param": "max_tokens", "code": 400}}
    release = asyncio.Event()

    async def refuses(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.json_response(told, status=400)

    async with serving(tmp_path, refuses, **SOON) as (client, _, _), client.stream(
        "POST", "/v1/chat/completions", json=STREAM
    ) as reply:  # fmt: skip
        received = pieces(reply)
        await anext(received)
        release.set()
        *_, last = b"".join([piece async for piece in received]).split(b"\n\n")[:-1]
        assert json.loads(last.removeprefix(b"data: ")) == told


async def test_whoever_leaves_while_waiting_is_forgotten_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words, **SOON) as (client, launcher, _):
        launcher.slow_start = True
        asking = asyncio.create_task(client.post("/v1/chat/completions", json=CHAT))
        await eventually(lambda: _is(client, 1))
        async with client.stream("POST", "/v1/chat/completions", json=STREAM) as reply:
            await anext(pieces(reply))
            assert await waiting_of(client) == 2
        await eventually(lambda: _is(client, 1))
        asking.cancel()
        await eventually(lambda: _is(client, 0))
        await eventually(lambda: all(engine.stopped for engine in launcher.engines))  # a load that nobody wants


async def _is(client: httpx.AsyncClient, count: int) -> bool:
    return await waiting_of(client) == count


async def test_whoever_leaves_the_queue_of_a_busy_model_gives_way(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def one_at_a_time(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        reply = await streamed(request)
        await release.wait()
        await reply.write(b"data: [DONE]\n\n")
        return reply

    models = tuple(entry.model_copy(update={"max_concurrent": 1}) for entry in CATALOGUE.models)
    catalogue = CATALOGUE.model_copy(update={"models": models})
    async with serving(tmp_path, one_at_a_time, catalogue=catalogue, **SOON) as (client, launcher, _):
        first = asyncio.create_task(client.post("/v1/chat/completions", json=STREAM))
        await eventually(lambda: bool(launcher.engines and launcher.engines[0].seen))
        async with client.stream("POST", "/v1/chat/completions", json=STREAM) as second:
            assert await anext(pieces(second)) == b": capibara6 queued for a, 1 waiting, 0 s\n\n"
        await eventually(lambda: _is(client, 0))
        release.set()
        assert (await first).content.endswith(b"data: [DONE]\n\n")
        assert len(launcher.engines[0].seen) == 1


async def test_a_stream_that_waits_when_the_server_stops_ends_with_an_error(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words, **SOON) as (client, launcher, stopping):
        launcher.slow_start = True
        async with client.stream("POST", "/v1/chat/completions", json=STREAM) as reply:
            received = pieces(reply)
            await anext(received)
            stopping.set()
            said = b"".join([piece async for piece in received])
        assert said.endswith(b"}}\n\n") and b'"code":"server_stopping"' in said


async def test_our_own_client_hears_of_long_waits_and_late_failures(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words, **SOON) as (http, launcher, _):
        launcher.slow_start = True
        client = ModelServerClient(str(http.base_url), read_seconds=LIMIT_SECONDS)
        try:
            async with client.stream_chat(CHAT) as stream:
                assert (stream.model, stream.load_ms) == ("a", None)
                launcher.engines[0].release.set()
                words = [chunk async for chunk in stream.chunks]
                assert len(words) == 3 and stream.load_ms is not None and stream.load_ms > 0
            await http.post("/models/a/unload")
            failure = await _late_failure(client, launcher)
            assert (failure.status, failure.code) == (502, "load_failed")
        finally:
            await client.close()


async def _late_failure(client: ModelServerClient, launcher: Launcher) -> ApiError:
    async with client.stream_chat(CHAT) as stream:
        launcher.engines[-1].failure = EngineFailed("exit status 1")
        launcher.engines[-1].release.set()
        try:
            found: list[dict[str, Any]] = [chunk async for chunk in stream.chunks]
        except ApiError as error:
            return error
    raise AssertionError(found)
