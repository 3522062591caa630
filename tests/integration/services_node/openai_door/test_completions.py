"""The assistant by chat completions, on real Postgres and Prefect, real tools, and a fake model server behind it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import openai
import pytest
from installation import Installation
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel
from sdk_talk import CALLS_LAMP, LAMP, SUM, asked, kept, read_by, told, user


def test_the_assistant_and_every_chat_model_are_models(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["capibara6", "qwen_coder"]
    assert client.models.retrieve("capibara6").owned_by == "capibara6"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("embedder")
    assert error.value.code == "model_not_found" and error.value.param == "model"


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
    if stream:
        with client.chat.completions.stream(model="capibara6", messages=question, tools=[LAMP]) as events:
            done: Any = events.get_final_completion()
    else:
        done = client.chat.completions.create(model="capibara6", messages=question, tools=[LAMP])
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
    first_run = api.get(f"/api/runs/{uuid.UUID(done.id.removeprefix('chatcmpl-'))}").json()
    assert told(second)["conversation_id"] == first_run["conversation_id"]
    said = kept(api, first_run["conversation_id"])
    assert said == [("user", CALLS_LAMP), ("assistant", "t0 "), ("assistant", "t0 t1 ")]


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


def test_code_is_not_run_where_nothing_is_to_be_stored(client: OpenAI) -> None:
    named = {"server_tools": "run_python"}
    with pytest.raises(openai.UnprocessableEntityError, match="store: false"):
        client.chat.completions.create(model="capibara6", messages=user("hola"), store=False, metadata=named)
    with pytest.raises(openai.UnprocessableEntityError, match="store: false"):
        client.responses.create(model="capibara6", input="hola", store=False, metadata=named)


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
