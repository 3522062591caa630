"""A turn told in OpenAI's forms."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from db.records import MessageRecord, RunRecord, ToolCallRecord
from flows.conduct import Ended
from flows.tools.calls import Call
from flows.turn import Started, Token, ToolCalled, ToolReturned, Transcript
from services_node.chat_api.openai_door.completions import Completion
from services_node.chat_api.openai_door.events import ResponseEvents
from services_node.chat_api.openai_door.responses import Told, stored, whole
from services_node.chat_api.openai_door.schemas import ResponseRequest
from wire.errors import ApiError, Conflict, TooManyRequests, UpstreamFailed

RUN, CONVERSATION = uuid.uuid4(), uuid.uuid4()
ADD, LAMP = Call("a", "add", {"x": 1}, ""), Call("b", "lamp", {"on": True}, "")
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def record(call: Call, result: str = "2", **more: Any) -> ToolCallRecord:
    known: dict[str, Any] = {"status": "completed", "error": None, "duration_ms": 1.0, "untrusted": False, **more}
    return ToolCallRecord(call.id, call.name, call.arguments or {}, result=result, **known)


def ended(*said: str, error: ApiError | None = None, **known: Any) -> Ended[Transcript]:
    transcript = Transcript(said=list(said), model="m", route="r", prompt_tokens=3, completion_tokens=2, **known)
    return Ended("failed" if error else "completed", error, transcript, 5.0)


def chunks(*events: Any, **known: Any) -> list[str]:
    told = Completion(RUN, CONVERSATION, **known)
    body = b"".join(told.written(event) for event in events).decode()
    return [line.removeprefix("data: ") for line in body.split("\n\n") if line]


def events(*happened: Any, asked: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    request = ResponseRequest.model_validate({"input": "hi", **(asked or {})})
    told = ResponseEvents(Told(RUN, CONVERSATION, request))
    return [event for one in happened for event in told.tell(one)]


def read_by_the_sdk(told: list[dict[str, Any]]) -> Any:
    """What OpenAI's own reader makes of the stream; each event is valid by its strict types too."""
    state: Any = ResponseStreamState(input_tools=[], text_format=omit)
    for event in told:
        state.handle_event(EVENT.validate_python(event))
    return state._completed_response


def test_a_completion_is_openais_with_our_story_beside_it() -> None:
    told = Completion(RUN, CONVERSATION).whole(ended("hi", tool_calls=[record(ADD)]))
    done = ChatCompletion.model_validate(told)
    assert done.choices[0].message.content == "hi" and done.model == "m" and done.id == f"chatcmpl-{RUN.hex}"
    assert done.usage is not None and done.usage.total_tokens == 5
    assert told["capibara6"]["run_id"] == str(RUN) and told["capibara6"]["tool_calls"][0]["name"] == "add"


def test_calls_for_the_client_name_their_run() -> None:
    told = Completion(RUN, CONVERSATION).whole(ended(client_calls=[LAMP]))
    choice = ChatCompletion.model_validate(told).choices[0]
    assert choice.finish_reason == "tool_calls" and choice.message.content is None and choice.message.tool_calls
    assert choice.message.tool_calls[0].id == f"call_{RUN.hex}_b"


def test_chunks_begin_with_a_role_and_leave_out_the_servers_tools() -> None:
    told = chunks(
        Started("m", "r"), ToolCalled(ADD), ToolReturned(record(ADD)), Token("x"), ended("x"), with_usage=True
    )
    assert told[-1] == "[DONE]"
    read = [ChatCompletionChunk.model_validate_json(one) for one in told[:-1]]
    deltas = [(chunk.choices[0].delta.role, chunk.choices[0].delta.content) for chunk in read[:-1]]
    assert deltas == [("assistant", ""), (None, "x"), (None, None)]
    assert read[-2].choices[0].finish_reason == "stop" and read[-1].usage is not None and not read[-1].choices


def test_an_error_within_chunks_is_openais() -> None:
    told = chunks(Token("x"), ended("x", error=TooManyRequests("full", code="queue_full")))
    assert json.loads(told[-1])["error"]["code"] == "queue_full" and "[DONE]" not in told


def test_a_response_tells_the_servers_tools_and_the_clients_calls_as_items() -> None:
    failed = record(ADD, "no", status="failed", error={"code": "x", "detail": "no"})
    told = whole(Told(RUN, CONVERSATION), ended("hi", tool_calls=[failed], client_calls=[LAMP]))
    done = Response.model_validate(told)
    assert [item.type for item in done.output] == ["mcp_call", "message", "function_call"] and done.output_text == "hi"
    tool: Any = done.output[0]
    assert tool.status == "failed" and tool.output is None and tool.error.content[0]["text"] == "no"


def test_a_responses_events_are_numbered_and_its_items_close_before_the_next_opens() -> None:
    told = events(
        Started("m", "r"), Token("let "), Token("me"), ToolCalled(ADD), ToolCalled(ADD), ToolReturned(record(ADD)),
        ToolReturned(record(ADD, "3")), Token("so"), ended("let ", "me", "so", client_calls=[LAMP]),
    )  # fmt: skip
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    done = read_by_the_sdk(told)
    assert [item.type for item in done.output] == ["message", "mcp_call", "mcp_call", "message", "function_call"]
    assert done.output_text == "let meso" and [item.output for item in done.output[1:3]] == ["2", "3"]
    opened = [event["output_index"] for event in told if event["type"] == "response.output_item.added"]
    closed = [event["output_index"] for event in told if event["type"] == "response.output_item.done"]
    assert opened == closed == [0, 1, 2, 3, 4] and len({item.id for item in done.output}) == 5


def test_an_answer_without_a_word_is_an_empty_message() -> None:
    assert read_by_the_sdk(events(Started("m", "r"), ended())).output_text == ""


def test_a_call_that_could_not_be_read_is_an_item_too() -> None:
    failed = record(ADD, "unreadable", status="failed", error={"code": "x", "detail": "y"})
    assert read_by_the_sdk(events(ToolReturned(failed), Token("x"), ended("x"))).output[0].status == "failed"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UpstreamFailed("died"), "failed", "server_error"),
        (TooManyRequests("full"), "failed", "rate_limit_exceeded"),
        (Conflict("stop", code="cancelled_by_client"), "cancelled", "invalid_prompt"),
    ],
)
def test_a_failure_closes_what_is_open_and_says_why(error: ApiError, status: str, code: str) -> None:
    told = events(Started("m", "r"), Token("x"), ToolCalled(ADD), ended("x", error=error))
    last = EVENT.validate_python(told[-1])
    assert last.type == "response.failed" and last.response.status == status and last.response.error.code == code
    assert [item.status for item in last.response.output] == ["completed", "incomplete"]
    assert told[-1]["response"]["capibara6"]["error"]["code"] == error.code


def test_a_failure_before_the_first_word_has_a_beginning_all_the_same() -> None:
    told = events(ended(error=UpstreamFailed("died")))
    assert [event["type"] for event in told] == ["response.created", "response.in_progress", "response.failed"]


def test_what_was_cut_is_incomplete() -> None:
    told = events(Started("m", "r"), Token("x"), ended("x", finish_reason="length"))
    last = told[-1]["response"]
    assert told[-1]["type"] == "response.incomplete" and last["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["output"][0]["status"] == "incomplete"


def test_a_request_is_repeated_in_its_response() -> None:
    function = {"type": "function", "name": "lamp", "parameters": {}}
    asked = {"model": "capibara6", "tools": [function], "metadata": {"a": "b"}, "temperature": 0.5, "store": True}
    told = events(Started("m", "r"), ended("x"), asked=asked)[-1]["response"]
    read = Response.model_validate(told)
    assert read.metadata == {"a": "b"} and read.temperature == 0.5 and read.tools[0].type == "function"


def run(**known: Any) -> RunRecord:
    fields: dict[str, Any] = {
        "id": RUN, "kind": "chat", "status": "completed", "conversation_id": CONVERSATION, "trace_id": "t",
        "prefect_flow_run_id": None, "flow_recorded_at": None, "requested_model": None, "model": "m", "route": "r",
        "prompt_tokens": 3, "completion_tokens": 2, "queue_ms": None, "load_ms": None, "first_token_ms": None,
        "total_ms": 1.0, "error_code": None, "error_detail": None, "created_at": MOMENT, "started_at": MOMENT,
        "ended_at": MOMENT, **known,
    }  # fmt: skip
    return RunRecord(**fields)


def message(role: str, content: str, *, complete: bool = True, calls: tuple[ToolCallRecord, ...] = ()) -> MessageRecord:
    return MessageRecord(uuid.uuid4(), role, content, "m", complete, RUN, MOMENT, 1, calls)  # type: ignore[arg-type]


def test_a_stored_response_is_read_from_its_rows() -> None:
    rows = [message("user", "hi"), message("assistant", "hello", calls=(record(ADD),))]
    read = Response.model_validate(stored(run(), rows, [LAMP]))
    assert [item.type for item in read.output] == ["mcp_call", "message", "function_call"]
    assert read.output_text == "hello" and read.status == "completed" and read.id == f"resp_{RUN.hex}"


@pytest.mark.parametrize(
    ("status", "told"), [("running", "in_progress"), ("cancelled", "cancelled"), ("crashed", "failed")]
)
def test_one_that_did_not_end_well_says_so(status: str, told: str) -> None:
    rows = [message("user", "hi"), message("assistant", "hel", complete=False)]
    read = Response.model_validate(stored(run(status=status, error_detail="lost", prompt_tokens=None), rows, []))
    assert read.status == told and read.usage is None and read.output_text == "hel"
    assert (read.error is None) == (told == "in_progress")
