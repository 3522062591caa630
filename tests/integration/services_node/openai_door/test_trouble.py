"""Clients that leave, models that fail, and requests that make no sense."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import openai
import pytest
from installation import Installation, eventually
from openai import AsyncOpenAI, OpenAI
from sdk_talk import LAMP, open_streams, told, user


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api_name", ["completions", "responses"])
async def test_a_client_that_leaves_cancels_its_run(
    stack: Installation, api: httpx.Client, api_name: str, stream: bool
) -> None:
    run_id, words = str(uuid.uuid4()), "hola tokens=2000 every=0.05"
    headers = {"x-capibara6-run-id": run_id}

    async def read(client: AsyncOpenAI) -> None:
        if api_name == "completions":
            reply: Any = await client.chat.completions.create(
                model="capibara6", messages=user(words), stream=stream, extra_headers=headers
            )
        else:
            reply = await client.responses.create(model="capibara6", input=words, stream=stream, extra_headers=headers)
        async for _ in reply:
            continue

    async with AsyncOpenAI(base_url=f"{stack.url('chat-api')}/v1", api_key="none", max_retries=0) as client:
        reading = asyncio.create_task(read(client))
        await asyncio.to_thread(eventually, lambda: open_streams(stack) == 1, 10, "the model answers")
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    def cancelled() -> bool:
        return bool(api.get(f"/api/runs/{run_id}").json()["status"] == "cancelled")

    await asyncio.to_thread(eventually, cancelled, 10, "the run is cancelled")
    assert (await asyncio.to_thread(api.get, f"/api/runs/{run_id}")).json()["error"]["code"] == "client_disconnected"
    await asyncio.to_thread(eventually, lambda: open_streams(stack) == 0, 5, "generation stopped")


@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_model_is_404(client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="nobody", messages=user("hola"), stream=stream)
    assert error.value.code == "model_not_found" and error.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="nobody", input="hola", stream=stream)


@pytest.mark.parametrize("stream", [False, True])
def test_a_full_queue_is_429(client: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.RateLimitError) as error:
        client.chat.completions.create(model="capibara6", messages=user("hola status=429"), stream=stream)
    assert error.value.code == "queue_full" and error.value.response.headers["retry-after"] == "7"
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="capibara6", input="hola status=429", stream=stream)


def test_an_error_in_mid_stream_reaches_the_sdk(client: OpenAI) -> None:
    words = "hola tokens=9 error=3"
    with pytest.raises(openai.APIError, match="engine died") as error:
        list(client.chat.completions.create(model="capibara6", messages=user(words), stream=True))
    assert error.value.code == "engine_died"
    last: Any = list(client.responses.create(model="capibara6", input=words, stream=True))[-1]
    assert last.type == "response.failed" and last.response.error.message == "the engine died"
    assert last.response.output_text == "t0 t1 t2 " and told(last.response)["error"]["code"] == "engine_died"
    read = client.responses.retrieve(last.response.id)
    assert read.status == "failed" and read.output_text == "t0 t1 t2 "


def test_a_model_that_fails_after_a_long_silence_is_told_within_the_stream(client: OpenAI) -> None:
    words = "hola wait=3 error=0"  # the status has gone out, and comments, before the first word
    with pytest.raises(openai.APIError, match="engine died"):
        list(client.chat.completions.create(model="capibara6", messages=user(words), stream=True))
    events = list(client.responses.create(model="capibara6", input=words, stream=True))
    assert [event.type for event in events] == ["response.created", "response.in_progress", "response.failed"]


CONVERSATION = "metadata.conversation_id"
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("chat/completions", {}, 422, "messages"),
        ("chat/completions", {"messages": "hola"}, 422, "messages"),
        ("chat/completions", {"messages": []}, 422, "messages"),
        ("chat/completions", {"messages": [{"role": "user", "content": 5}]}, 422, "messages.0.content"),
        ("chat/completions", {"messages": [{"role": "user", "content": " "}]}, 422, "messages.0.content"),
        ("chat/completions", {"messages": [{"role": "user", "content": "x" * 32_001}]}, 422, "messages.0.content"),
        ("chat/completions", {"messages": [{"role": "user", "content": [PICTURE]}]}, 422, "messages.0.content.0"),
        ("chat/completions", {"messages": [{"role": "assistant", "content": "x"}]}, 422, "messages"),
        ("chat/completions", {"messages": [{"role": "robot", "content": "x"}]}, 422, "messages.0.role"),
        ("chat/completions", {"messages": [{"role": "tool", "content": "x", "tool_call_id": "y"}]}, 422, "messages"),
        ("chat/completions", {"messages": user("x"), "n": 2}, 422, "n"),
        ("chat/completions", {"messages": user("x"), "modalities": ["text", "audio"]}, 422, "modalities"),
        ("chat/completions", {"messages": user("x"), "logprobs": True}, 422, "logprobs"),
        ("chat/completions", {"messages": user("x"), "functions": []}, 422, "functions"),
        ("chat/completions", {"messages": user("x"), "temperature": "hot"}, 422, "temperature"),
        ("chat/completions", {"messages": user("x"), "tools": [{"type": "web_search"}]}, 422, "tools.0.type"),
        ("chat/completions", {"messages": user("x"), "tool_choice": "required"}, 422, "tool_choice"),
        ("chat/completions", {"messages": user("x"), "response_format": {"type": "xml"}}, 422, "response_format"),
        ("chat/completions", {"messages": user("x"), "model": "no_tools", "tools": [LAMP]}, 422, "tools"),
        ("chat/completions", {"messages": user("x"), "metadata": {"conversation_id": "y"}}, 422, CONVERSATION),
        ("responses", {}, 422, "input"),
        ("responses", {"input": 5}, 422, "input"),
        ("responses", {"input": []}, 422, "input"),
        ("responses", {"input": [{"type": "item_reference", "id": "x"}]}, 422, "input.0.type"),
        ("responses", {"input": [{"type": "function_call_output", "output": "x"}]}, 422, "input.0.call_id"),
        ("responses", {"input": "x", "background": True}, 422, "background"),
        ("responses", {"input": "x", "previous_response_id": "resp_1"}, 404, "previous_response_id"),
        ("responses", {"input": "x", "previous_response_id": f"resp_{'0' * 32}"}, 404, "previous_response_id"),
        ("responses", {"input": "x", "previous_response_id": "a", "conversation": "b"}, 400, "previous_response_id"),
        ("responses", {"input": "x", "conversation": "b"}, 422, "conversation"),
        ("responses", {"input": "x", "tools": [{"type": "file_search"}]}, 422, "tools.0.type"),
    ],
)  # fmt: skip
def test_bad_input_names_the_field_in_openais_shape(
    api: httpx.Client, path: str, body: dict[str, Any], status: int, param: str
) -> None:
    reply = api.post(f"/v1/{path}", json=body)
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert error["param"] == param and error["message"] and error["type"] == "invalid_request_error" and error["code"]


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_broken_json_is_400_in_openais_shape(api: httpx.Client, path: str) -> None:
    reply = api.post(f"/v1/{path}", content=b"{not json", headers={"content-type": "application/json"})
    assert reply.status_code == 400 and reply.json()["error"]["code"] == "malformed_json"


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_a_body_that_is_too_large_is_413_in_openais_shape(api: httpx.Client, path: str) -> None:
    reply = api.post(f"/v1/{path}", content=b" " * (11 * 2**20), headers={"content-type": "application/json"})
    assert reply.status_code == 413 and reply.json()["error"]["code"] == "body_too_large"
