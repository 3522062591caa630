"""Clients against an application in this process: what errors and streams become."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from wire.clients.models import ModelServerClient
from wire.errors import ApiError, NotFound, TooManyRequests, Unavailable, UpstreamFailed

CHUNK = {"choices": [{"index": 0, "delta": {"content": "París"}}]}


def client_of(answer: Response) -> ModelServerClient:
    async def endpoint(request: Request) -> Response:
        assert json.loads(await request.body())["stream"] is True
        assert request.headers["traceparent"]
        assert request.headers["x-capibara6-run-id"]
        return answer

    client = ModelServerClient("http://models.test")
    app = Starlette(routes=[Route("/v1/chat/completions", endpoint, methods=["POST"])])
    client._http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://models.test")
    return client


def stream(*data: str) -> Response:
    async def body() -> AsyncIterator[bytes]:
        for item in data:
            yield f"data: {item}\n\n".encode()

    headers = {"x-capibara6-model": "phi4_fast", "x-capibara6-route": "default", "x-capibara6-load-ms": "12.5"}
    return StreamingResponse(body(), headers=headers)


async def content_of(client: ModelServerClient) -> list[str]:
    async with client.stream_chat({"messages": []}) as answer:
        assert (answer.model, answer.route, answer.load_ms, answer.queue_ms) == ("phi4_fast", "default", 12.5, None)
        return [chunk["choices"][0]["delta"]["content"] async for chunk in answer.chunks]


async def test_a_stream_gives_its_chunks() -> None:
    assert await content_of(client_of(stream(json.dumps(CHUNK), "[DONE]"))) == ["París"]


async def test_an_error_event_is_raised_with_its_code() -> None:
    told = json.dumps({"error": {"message": "gone", "code": "engine_died"}})
    with pytest.raises(UpstreamFailed) as caught:
        await content_of(client_of(stream(json.dumps(CHUNK), told)))
    assert (caught.value.code, caught.value.detail) == ("engine_died", "gone")


@pytest.mark.parametrize(
    ("code", "status"),
    [("queue_timeout", 503), ("queue_full", 429), ("load_timeout", 504), ("load_failed", 502), ("else", 502)],
)
async def test_a_failure_that_came_too_late_for_a_status_is_given_it_by_its_code(code: str, status: int) -> None:
    told = json.dumps({"error": {"message": "gone", "code": code}})
    with pytest.raises(ApiError) as caught:
        await content_of(client_of(stream(told)))
    assert (caught.value.status, caught.value.code) == (status, code)


async def test_what_a_long_wait_was_is_heard_when_the_answer_begins() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b": capibara6 loading phi4_fast, 5 s\n\n: capibara6 waited queue_ms=1.5 load_ms=9000.0\n\n"
        yield f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n".encode()

    client = client_of(StreamingResponse(body()))
    async with client.stream_chat({"messages": []}) as answer:
        assert (answer.queue_ms, answer.load_ms) == (None, None)
        assert [chunk async for chunk in answer.chunks] == [CHUNK]
        assert (answer.queue_ms, answer.load_ms) == (1.5, 9000.0)


async def test_a_stream_without_its_end_is_a_failure() -> None:
    with pytest.raises(UpstreamFailed) as caught:
        await content_of(client_of(stream(json.dumps(CHUNK))))
    assert caught.value.code == "stream_broken"


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (
            JSONResponse({"error": {"message": "m", "code": "model_not_found", "param": "model"}}, 404),
            NotFound,
            "model_not_found",
        ),
        (JSONResponse({"error": {"message": "m"}}, 429, {"retry-after": "7"}), TooManyRequests, "too_many_requests"),
        (Response("<html>", 502), UpstreamFailed, "upstream_failed"),
    ],
)
async def test_refusals_become_named_errors(answer: Response, kind: type[ApiError], code: str) -> None:
    with pytest.raises(kind) as caught:
        await content_of(client_of(answer))
    assert caught.value.code == code
    if answer.status_code == 429:
        assert caught.value.retry_after_seconds == 7


async def test_nobody_there_is_unavailable() -> None:
    client = ModelServerClient("http://127.0.0.1:1")
    with pytest.raises(Unavailable) as caught:
        async with client.stream_chat({"messages": []}):
            pass
    assert caught.value.code == "model_server_unreachable"
    assert await client.ready() is False
    await client.close()
