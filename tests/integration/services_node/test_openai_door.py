"""The assistant through OpenAI's SDK, on real Postgres and Prefect, real tools, and a fake model server behind it."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from installation import Installation, eventually
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import Response
from pydantic import BaseModel

LAMP: Any = {
    "type": "function",
    "function": {"name": "lamp", "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}}},
}
FLAT_LAMP: Any = {"type": "function", **LAMP["function"], "strict": False}
CALLS_LAMP = 'enciende la luz tokens=1 call=lamp{"on": true}'
SUM = 'How much is 17 * 23? tokens=1 call=calculate{"expression": "17*23"}'


@pytest.fixture
def client(stack: Installation) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stack.url('chat-api')}/v1", api_key="none", max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
def api(stack: Installation) -> httpx.Client:
    return httpx.Client(base_url=stack.url("chat-api"), timeout=30)


@pytest.fixture(scope="module")
def tools(stack: Installation) -> Iterator[None]:
    """The MCP server and the smart one beside it."""
    for service in ("mcp-server", "smart-mcp"):
        stack.start(service)
    try:
        for service in ("mcp-server", "smart-mcp"):
            eventually(lambda: httpx.get(f"{stack.url(service)}/health/ready").status_code == 200, 60, service)  # noqa: B023
        yield
    finally:
        for service in ("smart-mcp", "mcp-server"):
            stack.stop(service)


def user(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def told(completion: Any) -> dict[str, Any]:
    """What is ours, beside OpenAI's."""
    found = completion.model_extra["capibara6"]
    assert isinstance(found, dict)
    return found


def asked(stack: Installation) -> dict[str, Any]:
    """The last request that the model got."""
    body = httpx.get(f"{stack.url('model-server')}/watch").json()["seen"][-1]["body"]
    assert isinstance(body, dict)
    return body


def read_by(stack: Installation) -> list[dict[str, Any]]:
    """Its messages, without the system's."""
    return [one for one in asked(stack)["messages"] if one["role"] != "system"]


def kept(api: httpx.Client, conversation_id: str) -> list[tuple[str, str]]:
    found = api.get(f"/api/conversations/{conversation_id}").json()
    return [(one["role"], one["content"]) for one in found["messages"]]


# Models


def test_the_assistant_and_every_chat_model_are_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["capibara6", "qwen_coder"]
    assert client.models.retrieve("capibara6").owned_by == "capibara6"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("embedder")
    assert error.value.code == "model_not_found" and error.value.param == "model"


# Chat completions


def test_a_completion_is_a_run_with_a_conversation(client: OpenAI, api: httpx.Client, stack: Installation) -> None:
    messages: list[ChatCompletionMessageParam] = [
        {"role": "developer", "content": "Sé breve."},
        {"role": "user", "content": "uno"},
        {"role": "assistant", "content": "dos"},
        {"role": "user", "content": [{"type": "text", "text": "hola"}, {"type": "text", "text": "tokens=2"}]},
    ]
    done = client.chat.completions.create(
        model="capibara6", messages=messages, temperature=0, max_completion_tokens=9, stop=["x"], seed=1,
        user="me", reasoning_effort="low", metadata={"any": "thing"},
    )  # fmt: skip
    assert done.choices[0].message.content == "t0 t1 " and done.choices[0].finish_reason == "stop"
    assert done.usage is not None and done.usage.total_tokens == 9 and done.model == "qwen_coder"
    body = asked(stack)
    assert [one["role"] for one in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][-1]["content"] == "hola\ntokens=2" and body["max_tokens"] == 9 and body["stop"] == ["x"]
    ours = told(done)
    assert ours["route"] == "test" and ours["tool_calls"] == []
    assert kept(api, ours["conversation_id"]) == [("user", "hola\ntokens=2"), ("assistant", "t0 t1 ")]
    run = api.get(f"/api/runs/{ours['run_id']}").json()
    assert run["status"] == "completed" and run["requested_model"] is None


def test_a_conversation_that_is_named_keeps_question_and_answer_and_the_client_says_what_is_read(
    client: OpenAI, api: httpx.Client, stack: Installation
) -> None:
    first = told(client.chat.completions.create(model="capibara6", messages=user("uno tokens=1")))["conversation_id"]
    for named in ({"metadata": {"conversation_id": first}}, {"extra_headers": {"x-capibara6-conversation-id": first}}):
        again = client.chat.completions.create(model="capibara6", messages=user("dos tokens=1"), **named)  # type: ignore[arg-type]
        assert told(again)["conversation_id"] == first and len(read_by(stack)) == 1
    assert [text for _, text in kept(api, first)] == ["uno tokens=1", "t0 ", *["dos tokens=1", "t0 "] * 2]
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(
            model="capibara6", messages=user("tres"), metadata={"conversation_id": str(uuid.uuid4())}
        )
    assert error.value.code == "conversation_not_found"


def test_a_stream_is_chunks_with_the_story_on_the_last_one(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        model="qwen_coder", messages=user("hola tokens=3"), stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "t0 t1 t2 "
    assert chunks[-2].choices[0].finish_reason == "stop" and told(chunks[-2])["run_id"]
    assert not chunks[-1].choices and chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 3
    assert len({chunk.id for chunk in chunks}) == 1 and {chunk.model for chunk in chunks} == {"qwen_coder"}


def test_no_usage_is_sent_where_none_is_asked_for(client: OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="capibara6", messages=user("hola"), stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_an_answer_that_was_cut_says_length(client: OpenAI) -> None:
    done = client.chat.completions.create(model="capibara6", messages=user("hola finish=length"))
    assert done.choices[0].finish_reason == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_a_clients_tool_makes_its_round_trip_in_one_conversation(
    client: OpenAI, api: httpx.Client, stack: Installation, stream: bool
) -> None:
    question = user(CALLS_LAMP)
    with client.chat.completions.stream(model="capibara6", messages=question, tools=[LAMP]) as events:
        done: Any = (
            events.get_final_completion()
            if stream
            else client.chat.completions.create(model="capibara6", messages=question, tools=[LAMP])
        )
    assert done.choices[0].finish_reason == "tool_calls"
    call = done.choices[0].message.tool_calls[0]
    assert call.function.name == "lamp" and json.loads(call.function.arguments) == {"on": True}
    assert asked(stack)["tools"] == [LAMP]
    reply = done.choices[0].message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    second = client.chat.completions.create(
        model="capibara6",
        messages=[*question, reply, {"role": "tool", "tool_call_id": call.id, "content": "encendida tokens=2"}],
        tools=[LAMP],
    )
    assert second.choices[0].message.content == "t0 t1 "
    read = read_by(stack)
    assert [one["role"] for one in read] == ["user", "assistant", "tool"]
    assert read[1]["tool_calls"][0]["id"] == read[2]["tool_call_id"] == "made0"
    conversation_id = told(done)["conversation_id"]
    assert told(second)["conversation_id"] == conversation_id
    assert kept(api, conversation_id) == [("user", CALLS_LAMP), ("assistant", "t0 "), ("assistant", "t0 t1 ")]


def test_a_choice_of_tool_is_passed_on(client: OpenAI, stack: Installation) -> None:
    def choose(choice: Any) -> dict[str, Any]:
        client.chat.completions.create(
            model="capibara6", messages=user("hola"), tools=[LAMP], tool_choice=choice, parallel_tool_calls=False
        )
        return asked(stack)

    named = {"type": "function", "function": {"name": "lamp"}}
    assert choose("required")["tool_choice"] == "required" and choose(named)["tool_choice"] == named
    assert "tool_choice" not in choose("auto") and "tools" not in choose("none")
    assert choose("auto")["parallel_tool_calls"] is False


def test_a_tool_of_the_servers_runs_there_and_is_told(client: OpenAI, tools: None) -> None:
    done = client.chat.completions.create(model="capibara6", messages=user(SUM))
    assert done.choices[0].finish_reason == "stop" and done.choices[0].message.tool_calls is None
    [call] = told(done)["tool_calls"]
    assert call["name"] == "calculate" and call["status"] == "completed" and "391" in call["result"]
    chunks = list(client.chat.completions.create(model="capibara6", messages=user(SUM), stream=True))
    assert told(chunks[-1])["tool_calls"][0]["name"] == "calculate"
    alone = client.chat.completions.create(model="capibara6", messages=user(SUM), metadata={"server_tools": "false"})
    assert told(alone)["tool_calls"] == []


def test_what_is_not_to_be_stored_leaves_a_run_and_no_text(client: OpenAI, api: httpx.Client) -> None:
    before = api.get("/api/conversations", params={"limit": 1}).json()
    done = client.chat.completions.create(model="capibara6", messages=user("secreto tokens=1"), store=False)
    assert done.choices[0].message.content == "t0 " and told(done)["conversation_id"] is None
    run = api.get(f"/api/runs/{told(done)['run_id']}").json()
    assert run["status"] == "completed" and run["conversation_id"] is None and "secreto" not in json.dumps(run)
    assert api.get("/api/conversations", params={"limit": 1}).json() == before


class Answer(BaseModel):
    total: int


def test_a_form_goes_to_the_model(client: OpenAI, stack: Installation) -> None:
    with pytest.raises(ValueError, match="JSON"):  # the fake model writes none
        client.chat.completions.parse(model="capibara6", messages=user("hola"), response_format=Answer)
    assert asked(stack)["response_format"]["json_schema"]["name"] == "Answer"
    with pytest.raises(ValueError, match="JSON"):
        client.responses.parse(model="capibara6", input="hola", text_format=Answer)
    form = asked(stack)["response_format"]["json_schema"]
    assert form["name"] == "Answer" and form["schema"]["properties"]["total"]["type"] == "integer"


# Responses


def test_a_response_is_answered_kept_and_gone_on_with(client: OpenAI, api: httpx.Client, stack: Installation) -> None:
    first = client.responses.create(
        model="capibara6", input="me llamo Ana tokens=2", instructions="Sé breve.", metadata={"a": "b"},
        temperature=0.5, max_output_tokens=50, user="me", reasoning={"effort": "low"},
    )  # fmt: skip
    assert first.output_text == "t0 t1 " and first.status == "completed" and first.model == "qwen_coder"
    assert first.usage is not None and (first.usage.input_tokens, first.usage.output_tokens) == (7, 2)
    assert first.metadata == {"a": "b"} and first.instructions == "Sé breve." and first.temperature == 0.5
    second = client.responses.create(model="capibara6", input="¿cómo me llamo? tokens=1", previous_response_id=first.id)
    assert second.conversation == first.conversation and second.previous_response_id == first.id
    assert [one["content"] for one in read_by(stack)] == [
        "me llamo Ana tokens=2", "t0 t1 ", "¿cómo me llamo? tokens=1",
    ]  # fmt: skip
    assert first.conversation is not None
    third = client.responses.create(model="capibara6", input="tres tokens=1", conversation=first.conversation.id)
    assert len(read_by(stack)) == 5
    read = client.responses.retrieve(first.id)
    assert read.output_text == "t0 t1 " and read.status == "completed" and read.output[0].id
    assert len(kept(api, told(third)["conversation_id"])) == 6


def test_items_of_a_client_that_keeps_everything_itself_are_read_and_only_the_last_is_kept(
    client: OpenAI, api: httpx.Client, stack: Installation
) -> None:
    done = client.responses.create(
        model="capibara6",
        input=[
            {"role": "system", "content": "Sé breve."},
            {"role": "user", "content": [{"type": "input_text", "text": "uno"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "dos"}]},  # type: ignore[list-item]
            {"role": "user", "content": "tres tokens=1"},
        ],
    )
    assert [one["content"] for one in asked(stack)["messages"]] == ["Sé breve.", "uno", "dos", "tres tokens=1"]
    assert kept(api, told(done)["conversation_id"]) == [("user", "tres tokens=1"), ("assistant", "t0 ")]


def test_a_responses_stream_has_openais_events_in_order(client: OpenAI) -> None:
    with client.responses.stream(model="capibara6", input="hola tokens=2") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert final.output_text == "t0 t1 " and final.usage is not None and final.usage.output_tokens == 2
    assert client.responses.retrieve(final.id).output_text == final.output_text


def test_a_response_that_was_cut_is_incomplete(client: OpenAI) -> None:
    done = client.responses.create(model="capibara6", input="hola finish=length")
    assert done.status == "incomplete" and done.incomplete_details is not None
    assert done.incomplete_details.reason == "max_output_tokens"
    events = list(client.responses.create(model="capibara6", input="hola finish=length", stream=True))
    assert events[-1].type == "response.incomplete"


def call_of(response: Response) -> Any:
    [call] = [item for item in response.output if item.type == "function_call"]
    return call


@pytest.mark.parametrize("stream", [False, True])
def test_a_clients_tools_go_back_and_forth_by_previous_response_id(
    client: OpenAI, api: httpx.Client, stack: Installation, stream: bool
) -> None:
    def ask(**request: Any) -> Response:
        if not stream:
            return client.responses.create(model="capibara6", tools=[FLAT_LAMP], **request)
        with client.responses.stream(model="capibara6", tools=[FLAT_LAMP], **request) as events:
            return events.get_final_response()

    def output(call: Any, text: str) -> list[Any]:
        return [{"type": "function_call_output", "call_id": call.call_id, "output": text}]

    first = ask(input=CALLS_LAMP)
    call = call_of(first)
    assert call.name == "lamp" and json.loads(call.arguments) == {"on": True} and first.status == "completed"
    assert asked(stack)["tools"][0]["function"]["name"] == "lamp"
    again = call_of(client.responses.retrieve(first.id))
    assert (again.call_id, again.arguments) == (call.call_id, call.arguments)
    second = ask(input=output(call, "no tokens=0 call=lamp"), previous_response_id=first.id)
    third = ask(input=output(call_of(second), "encendida tokens=2"), previous_response_id=second.id)
    assert third.output_text == "t0 t1 "
    assert [one["role"] for one in read_by(stack)] == ["user", "assistant", "tool", "assistant", "tool"]
    conversation_id = told(first)["conversation_id"]
    assert kept(api, conversation_id) == [("user", CALLS_LAMP), ("assistant", "t0 "), ("assistant", "t0 t1 ")]
    with pytest.raises(openai.UnprocessableEntityError) as error:
        ask(input="y ahora?", previous_response_id=first.id)
    assert error.value.code == "missing_tool_result"


def test_calls_that_a_client_sends_along_need_no_previous_response(client: OpenAI, stack: Installation) -> None:
    first = client.responses.create(model="capibara6", tools=[FLAT_LAMP], input=CALLS_LAMP, store=True)
    items: Any = [item.model_dump(exclude_none=True) for item in first.output]
    output = {"type": "function_call_output", "call_id": call_of(first).call_id, "output": "encendida tokens=1"}
    second = client.responses.create(model="capibara6", input=[*user(CALLS_LAMP), *items, output])  # type: ignore[list-item]
    assert second.output_text == "t0 " and second.conversation == first.conversation
    assert [one["role"] for one in read_by(stack)] == ["user", "assistant", "tool"]


def test_a_tool_of_the_servers_is_an_mcp_call_in_a_response(client: OpenAI, tools: None) -> None:
    done = client.responses.create(model="capibara6", input=SUM)
    assert [item.type for item in done.output] == ["mcp_call", "message"]
    with client.responses.stream(model="capibara6", input=SUM) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "mcp_call", "message"]
    call: Any = final.output[1]
    assert call.server_label == "capibara6" and call.status == "completed" and "391" in call.output
    kinds = [event.type for event in events if "mcp" in event.type]
    assert kinds == [
        "response.mcp_call.in_progress", "response.mcp_call_arguments.delta", "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
    ]  # fmt: skip
    assert [item.type for item in client.responses.retrieve(final.id).output] == ["mcp_call", "message"]
    named = client.responses.create(
        model="capibara6",
        input=SUM,
        tools=[{"type": "mcp", "server_label": "capibara6", "allowed_tools": ["list_models"]}],
    )
    assert told(named)["tool_calls"] == []


def test_a_deleted_response_takes_its_text_along(client: OpenAI, api: httpx.Client) -> None:
    first = client.responses.create(model="capibara6", input="uno tokens=1")
    second = client.responses.create(model="capibara6", input="dos tokens=1", previous_response_id=first.id)
    conversation_id = told(first)["conversation_id"]
    client.responses.delete(first.id)
    assert kept(api, conversation_id) == [("user", "dos tokens=1"), ("assistant", "t0 ")]
    for gone in (client.responses.retrieve, client.responses.delete):
        with pytest.raises(openai.NotFoundError) as error:
            gone(first.id)
        assert error.value.code == "response_not_found"
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="capibara6", input="tres", previous_response_id=first.id)
    client.responses.delete(second.id)
    assert api.get(f"/api/conversations/{conversation_id}").status_code == 404
    assert api.get(f"/api/runs/{told(second)['run_id']}").json()["status"] == "completed"


def test_a_response_that_is_not_stored_is_not_there(client: OpenAI) -> None:
    done = client.responses.create(model="capibara6", input="hola", store=False)
    assert done.output_text and done.conversation is None
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(done.id)


def test_cancelling_a_response_stops_it(client: OpenAI, stack: Installation) -> None:
    with client.responses.create(model="capibara6", input="hola tokens=2000 every=0.05", stream=True) as stream:
        events = iter(stream)
        created: Any = next(events)
        assert client.responses.retrieve(created.response.id).status == "in_progress"
        ended = client.responses.cancel(created.response.id)
        last: Any = list(events)[-1]
    assert ended.status == "cancelled" and last.type == "response.failed" and last.response.status == "cancelled"
    eventually(lambda: open_streams(stack) == 0, 5, "generation stopped")
    with pytest.raises(openai.ConflictError):
        client.responses.cancel(created.response.id)


# Clients that leave


def open_streams(stack: Installation) -> int:
    return int(httpx.get(f"{stack.url('model-server')}/watch").json()["open"])


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


# Errors


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
