import time
import uuid

import pytest

from wire.context import N8nExecution, RequestContext, child_run_headers, on_behalf_headers, outgoing_headers
from wire.ids import parse_run_id, uuid7
from wire.principals import ANONYMOUS, LOCAL, Principal
from wire.trace import TraceContext


def test_run_ids_are_version_7_and_carry_their_time() -> None:
    before = time.time_ns() // 1_000_000
    run_id = uuid7()
    assert (run_id.version, run_id.variant) == (7, uuid.RFC_4122)
    assert before <= run_id.int >> 80 <= time.time_ns() // 1_000_000
    assert len({uuid7() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("text", [None, "", "no", "0190163d-8694-739b-aea5"])
def test_what_is_no_run_id_is_none(text: str | None) -> None:
    assert parse_run_id(text) is None


def test_a_trace_goes_on_in_a_new_span() -> None:
    trace = TraceContext.parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
    assert trace is not None
    child = trace.child()
    assert (child.trace_id, child.flags) == (trace.trace_id, "00")
    assert child.span_id != trace.span_id
    assert TraceContext.parse(child.header) == child


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00-short-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
    ],
)
def test_an_invalid_traceparent_is_none(header: str | None) -> None:
    assert TraceContext.parse(header) is None


def test_the_next_hop_is_told_run_trace_and_whose_request_it_is() -> None:
    context = RequestContext(uuid7(), TraceContext.new(), Principal("ana"))
    headers = on_behalf_headers(context)
    assert headers["x-capibara6-run-id"] == str(context.run_id)
    assert headers["x-capibara6-on-behalf-of"] == "ana"
    trace = TraceContext.parse(headers["traceparent"])
    assert trace is not None
    assert trace == context.trace, "an exchange that has no span of its own is part of the span in hand"
    assert "x-capibara6-on-behalf-of" not in outgoing_headers(context)


@pytest.mark.parametrize("nobody", [LOCAL, ANONYMOUS])
def test_who_has_no_key_of_their_own_is_not_named(nobody: Principal) -> None:
    assert "x-capibara6-on-behalf-of" not in on_behalf_headers(RequestContext(uuid7(), TraceContext.new(), nobody))


def test_a_run_begun_by_a_run_has_an_id_of_its_own_and_names_its_parent() -> None:
    context = RequestContext(uuid7(), TraceContext.new(), Principal("ana"))
    headers = child_run_headers(context)
    child = parse_run_id(headers["x-capibara6-run-id"])
    assert child is not None
    assert (child.version, child != context.run_id) == (7, True)
    assert headers["x-capibara6-parent-run-id"] == str(context.run_id)
    assert headers["traceparent"].split("-")[1] == context.trace.trace_id
    assert headers["x-capibara6-on-behalf-of"] == "ana"


def test_a_trace_said_in_a_message_wins_only_when_it_is_another() -> None:
    own, other = TraceContext.new(), TraceContext.new()
    assert own.unless(None) == own and own.unless(own.child()) == own and own.unless(other) == other


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, None),
        ({"x-capibara6-n8n-execution": "42", "x-capibara6-n8n-workflow": "aB_-9"}, N8nExecution("42", "aB_-9")),
        ({"x-capibara6-n8n-execution": "42"}, N8nExecution("42")),
        ({"x-capibara6-n8n-execution": "42", "x-capibara6-n8n-workflow": "a b"}, N8nExecution("42")),
        ({"x-capibara6-n8n-workflow": "aB"}, None),
        ({"x-capibara6-n8n-execution": "4" * 65}, None),
        ({"x-capibara6-n8n-execution": "../4"}, None),
        ({"x-capibara6-n8n-execution": ""}, None),
    ],
)
def test_what_is_no_id_of_n8ns_is_ignored(headers: dict[str, str], told: N8nExecution | None) -> None:
    assert N8nExecution.told(headers) == told
