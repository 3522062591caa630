"""Clients that send too much, read nothing, or leave: each costs what it may, and nobody else anything."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from aiohttp import web

from tests.integration.models_node.scripted import (
    CHAT,
    ScriptedEngine,
    chunk,
    error_of,
    eventually,
    serving,
    streamed,
    tells_three_words,
)

HUNDRED_MB = 100 * 2**20
STREAM = {**CHAT, "stream": True}


def address(client: httpx.AsyncClient) -> tuple[str, int]:
    return str(client.base_url.host), int(client.base_url.port or 0)


def head(path: str, *headers: str) -> bytes:
    said = (f"POST {path} HTTP/1.1", "host: localhost", "content-type: application/json", *headers)
    return "\r\n".join([*said, "", ""]).encode()


async def settled_memory(process: psutil.Process) -> int:
    """Bytes, once what the server loads in the background at its start is there."""
    samples = [0, 0, 0]
    async with asyncio.timeout(30):
        while max(samples) - min(samples) > 2**20 or not samples[0]:
            await asyncio.sleep(0.3)
            samples = [*samples[1:], process.memory_info().rss]
    return samples[-1]


async def in_flight(client: httpx.AsyncClient) -> int:
    return sum(engine["in_flight"] for engine in (await client.get("/stats")).json()["engines"])


async def test_a_body_that_says_it_is_too_large_is_refused_before_any_of_it_is_sent(tmp_path: Path) -> None:
    async with serving(tmp_path, tells_three_words) as (client, launcher, _):
        reader, writer = await asyncio.open_connection(*address(client))
        writer.write(head("/v1/chat/completions", f"content-length: {HUNDRED_MB}"))
        async with asyncio.timeout(5):
            assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
            said = await reader.readuntil(b"}}")
        assert b'"code":"body_too_large"' in said
        writer.close()
        assert not launcher.engines


async def test_a_body_that_does_not_say_it_is_refused_at_the_limit_and_never_held(tmp_path: Path) -> None:
    process = psutil.Process()

    async def endless() -> AsyncIterator[bytes]:
        piece = b'{"messages": "' + b"x" * 2**16
        for _ in range(HUNDRED_MB // len(piece)):
            yield piece

    async with serving(tmp_path, tells_three_words) as (client, _, _):
        before = await settled_memory(process)
        reply = await client.post("/v1/chat/completions", content=endless())
        assert (reply.status_code, error_of(reply)["code"]) == (413, "body_too_large")
        assert process.memory_info().rss - before < HUNDRED_MB / 2
        assert (await client.post("/v1/chat/completions", json=CHAT)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "hola " * 200_000}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hola " * 200_000}]}], "stream": True},
    ],
)
async def test_a_prompt_longer_than_the_context_is_refused_without_loading_anything(
    tmp_path: Path, body: dict[str, Any]
) -> None:
    async with serving(tmp_path, tells_three_words) as (client, launcher, _):
        reply = await client.post("/v1/chat/completions", json=body)
        error = error_of(reply)
        assert (reply.status_code, error["code"], error["type"]) == (
            400,
            "context_length_exceeded",
            "invalid_request_error",
        )
        assert "context of 100 tokens" in error["message"]
        assert not launcher.engines


async def test_a_client_that_reads_nothing_is_cut_off_and_holds_nobody_up(tmp_path: Path) -> None:
    written = 0

    async def floods(engine: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        nonlocal written
        reply = await streamed(request)
        if "brief" in (await request.json())["messages"][0]["content"]:
            await reply.write(chunk("here") + b"data: [DONE]\n\n")
            return reply
        while True:
            await reply.write(chunk("x" * 10_000))
            written += 10_000

    async with serving(tmp_path, floods, client_stall_seconds=1) as (client, launcher, _):
        body = json.dumps({"messages": [{"role": "user", "content": "much"}], "stream": True}).encode()
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stalled.connect(address(client))
            stalled.sendall(head("/v1/chat/completions", f"content-length: {len(body)}") + body)
            await eventually(lambda: bool(launcher.engines and written))
            brief = {"messages": [{"role": "user", "content": "brief"}], "stream": True}
            for _ in range(3):
                answer = await client.post("/v1/chat/completions", json=brief)
                assert answer.content == chunk("here") + b"data: [DONE]\n\n"
            assert not launcher.engines[0].gone.is_set()
            await asyncio.wait_for(launcher.engines[0].gone.wait(), 10)  # the engine stops generating
            await eventually(lambda: _none_in_flight(client))
            assert written < 16 * 2**20  # what sockets and the server held of it at most
            stalled.settimeout(5)
            last = b""
            while piece := stalled.recv(2**20):  # what was on its way, and then the end, in the middle of the answer
                last = piece
            assert not last.endswith(b"0\r\n\r\n")
        text = (await client.get("/metrics")).text
        assert 'error_type="client_stalled"' in text


async def _none_in_flight(client: httpx.AsyncClient) -> bool:
    return await in_flight(client) == 0


async def test_a_slow_but_steady_reader_gets_all_of_it(tmp_path: Path) -> None:
    words = [chunk(f"{number:05d}" * 2000) for number in range(400)]

    async def tells_much(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        reply = await streamed(request)
        for word in words:
            await reply.write(word)
        await reply.write(b"data: [DONE]\n\n")
        return reply

    async with serving(tmp_path, tells_much, client_stall_seconds=1) as (client, _, _):
        received = bytearray()
        async with client.stream("POST", "/v1/chat/completions", json=STREAM) as reply:
            async for piece in reply.aiter_raw():
                received += piece
                if len(received) < 2**20:
                    await asyncio.sleep(0.05)  # slower than the engine; altogether longer than a stall may last
        assert bytes(received) == b"".join(words) + b"data: [DONE]\n\n"


@pytest.mark.parametrize("stream", [True, False])
async def test_leaving_while_the_prompt_is_read_ends_the_engines_work(tmp_path: Path, stream: bool) -> None:
    async def reads_for_ever(_: ScriptedEngine, request: web.Request) -> web.StreamResponse:
        if stream:
            await streamed(request)
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(tmp_path, reads_for_ever) as (client, launcher, _):
        asking = asyncio.create_task(client.post("/v1/chat/completions", json={**CHAT, "stream": stream}))
        await eventually(lambda: bool(launcher.engines and launcher.engines[0].seen))
        asking.cancel()
        await asyncio.wait_for(launcher.engines[0].gone.wait(), 5)
        await eventually(lambda: _none_in_flight(client))


async def test_leaving_in_the_middle_of_sending_a_body_leaves_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, tells_three_words) as (client, _, _):
        _, writer = await asyncio.open_connection(*address(client))
        writer.write(head("/v1/chat/completions", "content-length: 1000") + b'{"messages"')
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await client.get("/health/live")).status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
