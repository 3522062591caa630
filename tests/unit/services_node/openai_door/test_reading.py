"""What a request of OpenAI's clients means as a turn."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from flows.tools.calls import Tool
from flows.tools.policy import Allowed
from flows.turn import ChatMessage
from services_node.chat_api.openai_door.items import last_answered, read_items
from services_node.chat_api.openai_door.names import given_call, read_call, read_conversation, response_id, run_of
from services_node.chat_api.openai_door.reading import (
    completion_options,
    leaving_nothing,
    model_asked,
    read_messages,
    response_options,
    tools_asked,
)
from services_node.chat_api.openai_door.schemas import CompletionRequest, ResponseRequest
from wire.errors import NotFound, ValidationFailed

MOST = 1000
LAMP = {"type": "function", "function": {"name": "lamp", "parameters": {"type": "object"}}}
DOOR = {"type": "function", "name": "door"}


def completion(**given: Any) -> CompletionRequest:
    return CompletionRequest.model_validate({"messages": [{"role": "user", "content": "hi"}], **given})


def response(**given: Any) -> ResponseRequest:
    return ResponseRequest.model_validate({"input": "hi", **given})


def read(*messages: dict[str, Any]) -> tuple[ChatMessage, ...]:
    return read_messages(completion(messages=list(messages)).messages, MOST)


def tools(*given: Any, choice: Any = None, parallel: bool | None = None, metadata: dict[str, str] | None = None) -> Any:
    asked = completion(tools=list(given), tool_choice=choice, parallel_tool_calls=parallel, metadata=metadata)
    return tools_asked(asked.tools, asked.tool_choice, asked.parallel_tool_calls, asked.metadata)


def called(call_id: str) -> dict[str, Any]:
    function = {"name": "lamp", "arguments": "{}"}
    return {"role": "assistant", "tool_calls": [{"id": call_id, "type": "function", "function": function}]}


def test_names_say_which_run_they_are_of() -> None:
    run = uuid.uuid4()
    assert run_of(response_id(run), "response_id") == run
    assert read_call(given_call(run, "abc_1")) == (run, "abc_1") and read_call("call_abc") == (None, "call_abc")
    conversation = uuid.uuid4()
    assert read_conversation(f"conv_{conversation.hex}", "x") == read_conversation(str(conversation), "x")
    for wrong in ("", "resp_", "resp_zz", response_id(run)[:-1], f"run_{run.hex}"):
        with pytest.raises(NotFound):
            run_of(wrong, "response_id")


@pytest.mark.parametrize(("name", "model"), [(None, None), ("auto", None), ("Capibara6", None), ("phi", "phi")])
def test_the_assistant_is_whom_the_router_chooses(name: str | None, model: str | None) -> None:
    assert model_asked(name) == model


def test_roles_and_parts_become_messages_that_alternate() -> None:
    assert read(
        {"role": "developer", "content": "be brief"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"},
    ) == (ChatMessage("system", "be brief"), ChatMessage("user", "a\nb\n\nc"))


def test_calls_and_results_reach_the_model_under_its_own_ids_and_are_not_joined() -> None:
    mine = given_call(uuid.uuid4(), "x")
    asked, calls, first, second = read(
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": called(mine)["tool_calls"] + called("y")["tool_calls"]},
        {"role": "tool", "tool_call_id": mine, "content": ""},
        {"role": "tool", "tool_call_id": "y", "content": "on"},
    )
    assert asked.content == "hi" and [call["id"] for call in calls.extra["tool_calls"]] == ["x", "y"]
    assert [one.extra["tool_call_id"] for one in (first, second)] == ["x", "y"]


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([{"role": "user", "content": "x" * (MOST + 1)}], "message_too_long"),
        ([{"role": "user", "content": ""}], "empty_message"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "audio_not_supported"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "images_not_supported"),
        ([{"role": "user", "content": [{"type": "dance"}]}], "not_supported"),
        ([{"role": "system", "content": "x"}], "last_message_not_user"),
        ([{"role": "function", "content": "x"}], "not_supported"),
        ([called("a"), {"role": "user", "content": "x"}], "missing_tool_result"),
        ([called("a"), {"role": "tool", "tool_call_id": "b", "content": "x"}], "unknown_tool_call"),
        ([called("a"), {"role": "tool", "tool_call_id": "a", "content": "x"}], "no_user_message"),
        ([called("a"), {"role": "tool", "content": "x"}], "missing_field"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(messages: list[dict[str, Any]], code: str) -> None:
    with pytest.raises(ValidationFailed) as error:
        read(*messages)
    assert error.value.code == code and error.value.param and error.value.param.startswith("messages")


def test_items_become_messages_and_calls_side_by_side_are_one_messages() -> None:
    call = {"type": "function_call", "name": "lamp", "arguments": "{}"}
    output = {"type": "function_call_output", "output": [{"type": "input_text", "text": "on"}]}
    given = response(
        input=[
            {"role": "user", "content": "hi"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "well"}]},
            {"type": "reasoning", "summary": []},
            {**call, "call_id": "a"},
            {**call, "call_id": "b"},
            {**output, "call_id": "a"},
            {**output, "call_id": "b"},
        ]
    )
    messages = read_items(given.input, MOST)
    assert [one.role for one in messages] == ["user", "assistant", "tool", "tool"] and messages[2].content == "on"
    assert messages[1].content == "well" and [one["id"] for one in messages[1].extra["tool_calls"]] == ["a", "b"]
    assert last_answered(given.input) == "b" and last_answered(response().input) is None
    with pytest.raises(ValidationFailed, match="item_reference"):
        read_items(response(input=[{"type": "item_reference", "id": "x"}]).input, MOST)


def test_a_clients_functions_stand_beside_the_servers_tools() -> None:
    wanted = tools(LAMP, DOOR)
    assert wanted.wanted and wanted.allowed == Allowed() and wanted.client_names == {"lamp", "door"}
    assert wanted.client[1]["function"]["parameters"] == {"type": "object", "properties": {}} and not wanted.options


def test_the_servers_tools_are_named_or_left_out() -> None:
    assert not tools(LAMP, metadata={"server_tools": "false"}).wanted
    assert tools(metadata={"server_tools": "a, b"}).allowed.names == {"a", "b"}
    mcp = {"type": "mcp", "server_label": "capibara6"}
    assert tools({**mcp, "allowed_tools": ["a"]}).allowed.names == {"a"}
    assert tools({**mcp, "allowed_tools": {"tool_names": ["b"]}}).allowed.names == {"b"} and tools(mcp).wanted
    assert not tools({**mcp, "allowed_tools": []}).wanted
    for wrong in ({"type": "mcp", "server_label": "other"}, {"type": "web_search"}, {**mcp, "allowed_tools": 5}):
        with pytest.raises(ValidationFailed) as error:
            tools(wrong)
        assert error.value.param and error.value.param.startswith("tools.0")


def test_a_choice_that_demands_a_call_means_one_of_the_clients() -> None:
    named = {"type": "function", "function": {"name": "door"}}
    for choice in (named, {"type": "function", "name": "door"}):
        wanted = tools(LAMP, DOOR, choice=choice)
        assert not wanted.wanted and wanted.client_names == {"door"} and wanted.options == {"tool_choice": named}
    assert tools(LAMP, choice="required", parallel=False).options == {
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    some = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "lamp"}]}
    assert tools(LAMP, DOOR, choice=some).client_names == {"lamp"} and tools(LAMP, choice=some).wanted
    none = tools(LAMP, choice="none")
    assert not none.wanted and not none.client
    for wrong in ("required", named, "sometimes", {"type": "mcp"}):
        with pytest.raises(ValidationFailed):
            tools(choice=wrong)


def test_options_of_both_forms_are_the_models() -> None:
    schema = {"name": "n", "schema": {"type": "object"}, "strict": True}
    form = {"type": "json_schema", "json_schema": schema}
    assert completion_options(completion(max_tokens=1, max_completion_tokens=2, seed=3, response_format=form)) == {
        "max_tokens": 2,
        "seed": 3,
        "response_format": form,
    }
    given = response(max_output_tokens=5, text={"format": {"type": "json_schema", **schema}, "verbosity": "low"})
    assert response_options(given) == {"max_tokens": 5, "response_format": form}
    assert response_options(response(text={"format": {"type": "text"}}, background=False)) == {}


@pytest.mark.parametrize(
    "wrong",
    [{"n": 2}, {"logprobs": True}, {"audio": {}}, {"function_call": "auto"}, {"web_search_options": {}},
     {"response_format": {"type": "json_schema"}}, {"response_format": {}}],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationFailed):
        completion_options(completion(**wrong))


def test_a_turn_that_is_not_stored_runs_no_code() -> None:
    python = Tool("run_python", "Runs code.", {"type": "object"})
    calculate = Tool("calculate", "Sums.", {"type": "object"}, read_only=True)
    allowed = leaving_nothing(tools()).allowed
    assert not allowed.offers(python) and allowed.offers(calculate)
    assert leaving_nothing(tools(metadata={"server_tools": "calculate"})).allowed.offers(calculate)
    assert not leaving_nothing(tools(metadata={"server_tools": "false"})).wanted
    with pytest.raises(ValidationFailed, match="store: false"):
        leaving_nothing(tools(metadata={"server_tools": "calculate,run_python"}))
