"""A run's steps as spans: one inside the other, with what they noted, and the calls they make inside them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from flows.work import Account
from wire import telemetry
from wire.context import RequestContext, enter, outgoing_headers
from wire.errors import UpstreamFailed
from wire.principals import LOCAL
from wire.trace import TraceContext


class Sink:
    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        return True

    def shutdown(self) -> None:
        return None


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    telemetry.use(made, "test")
    yield made
    telemetry.stop(1)


async def test_a_model_call_is_named_by_the_conventions_and_its_exchange_is_inside(sink: Sink) -> None:
    request, account = RequestContext(uuid.uuid4(), TraceContext.new(), LOCAL), Account()
    enter(request)
    async with account.step("model_call", kind="model_call") as note:
        note.detail |= {"model": "phi4_fast", "prompt_tokens": 7, "completion_tokens": 3, "other": ["x"]}
        sent = TraceContext.parse(outgoing_headers(request)["traceparent"])
    (span,) = sink.spans
    assert span.context is not None and span.parent is not None and sent is not None
    assert sent.span_id == f"{span.context.span_id:016x}"
    assert f"{span.parent.span_id:016x}" == request.trace.span_id
    assert span.name == "chat model_call" and span.attributes is not None
    told = {name: value for name, value in span.attributes.items() if name.startswith("gen_ai")}
    assert told == {
        "gen_ai.operation.name": "chat", "gen_ai.response.model": "phi4_fast", "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 3,
    }  # fmt: skip
    assert span.attributes["capibara6.step.id"] == str(account.steps[0].id)


async def test_tools_that_fail_are_marked_whether_they_raise_or_say_so(sink: Sink) -> None:
    account = Account()
    async with account.step("fetch_url", kind="tool_call") as note:
        note.failure = ("tool_failed", "the page is gone")
    with pytest.raises(UpstreamFailed):
        async with account.step("calculate", kind="tool_call"):
            raise UpstreamFailed("away")
    assert [(span.name, span.status.status_code) for span in sink.spans] == [
        ("execute_tool fetch_url", StatusCode.ERROR), ("execute_tool calculate", StatusCode.ERROR),
    ]  # fmt: skip
    assert [step.status for step in account.steps] == ["failed", "failed"]


async def test_another_requests_headers_are_its_own(sink: Sink) -> None:
    enter(RequestContext(uuid.uuid4(), TraceContext.new(), LOCAL))
    other = RequestContext(uuid.uuid4(), TraceContext.new(), LOCAL)
    async with Account().step("step"):
        assert outgoing_headers(other)["traceparent"] == other.trace.header
