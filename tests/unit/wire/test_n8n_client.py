"""What n8n answers, and what is made of it: each kind of trouble has its name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from wire.clients.n8n import WorkflowClient
from wire.errors import ApiError

JSON, HTML = "application/json", "text/html; charset=utf-8"


def reply(status: int, body: bytes, kind: str = JSON, length: int | None = None) -> bytes:
    said = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length or len(body)}\r\n\r\n"
    return said.encode() + body


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers so (None: not at all), and what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        asked.append(head + await reader.readexactly(length))
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}", asked
    finally:
        server.close()


async def called(url: str, seconds: float = 5, key: str | None = None) -> Any:
    client = WorkflowClient(url, answer_bytes=1000, key=key)
    try:
        return await client.call("lead/new", {"ñ": 1}, {"x-run": "7"}, seconds)
    finally:
        await client.close()


async def test_a_workflow_is_sent_json_and_answers_with_it() -> None:
    async with answering(reply(200, b'[{"ok": true}]')) as (url, asked):
        assert await called(url) == [{"ok": True}]
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /webhook/lead/new HTTP/1.1") and b"x-run: 7" in head
    assert body == '{"ñ": 1}'.encode()


async def test_n8ns_key_is_sent_where_webhooks_ask_for_it_alone() -> None:
    async with answering(reply(200, b"{}")) as (url, asked):
        await called(url, key="n8ns")
        await called(url)
    assert b"\r\nauthorization: bearer n8ns\r\n" in asked[0].lower()
    assert b"authorization" not in asked[1].lower()


@pytest.mark.parametrize(
    ("answer", "status", "code", "words"),
    [
        (reply(404, b'{"code":404,"message":"not registered"}'), 404, "workflow_not_found", "not registered"),
        (reply(500, b'{"message":"Error in workflow"}'), 502, "workflow_failed", "500: Error in workflow"),
        (reply(500, b"<html>", HTML), 502, "workflow_failed", "a page of HTML"),
        (reply(403, b'"no"'), 502, "workflow_failed", "403"),
        (reply(301, b""), 502, "workflow_failed", "301"),
        (reply(503, b"<html>", HTML), 502, "workflow_failed", "a page of HTML"),
        (reply(504, b'{"detail":"too slow"}'), 502, "workflow_failed", "too slow"),
        (reply(200, b"n8n is starting up. Please wait", HTML), 503, "n8n_not_ready", "starting"),
        (reply(503, b'{"code":503,"message":"Database is not ready!"}'), 503, "n8n_not_ready", "starting"),
        (reply(200, b"<html>", HTML), 502, "workflow_answer_not_json", "a page of HTML"),
        (reply(200, b""), 502, "workflow_answer_not_json", "no JSON"),
        (reply(200, b"x" * 1001), 502, "workflow_answer_too_large", "1000 bytes"),
        (reply(200, b"{", length=9), 503, "n8n_disconnected", "broke the connection"),
        (b"nonsense\r\n\r\n", 503, "n8n_disconnected", "broke the connection"),
    ],
)
async def test_every_other_answer_is_an_error_with_a_name(answer: bytes, status: int, code: str, words: str) -> None:
    async with answering(answer) as (url, asked):
        with pytest.raises(ApiError) as failed:
            await called(url)
    assert (failed.value.status, failed.value.code) == (status, code) and words in failed.value.detail
    assert len(asked) == 1


async def test_a_workflow_that_is_slow_or_away_is_told_as_that() -> None:
    async with answering(None) as (url, _):
        with pytest.raises(ApiError) as slow:
            await called(url, 0.2)
    assert (slow.value.status, slow.value.code) == (504, "n8n_timeout")
    with pytest.raises(ApiError) as away:
        await called(url)
    assert (away.value.status, away.value.code) == (503, "n8n_unreachable")
