"""The assistant by responses, on the same."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from installation import Installation, eventually
from openai import OpenAI
from openai.types.responses import Response
from sdk_talk import CALLS_LAMP, FLAT_LAMP, SUM, asked, kept, open_streams, read_by, told, user


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
