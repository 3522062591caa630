"""Spans: nothing while they are off, ids of the requests while they are on, and never a request's trouble."""

from __future__ import annotations

import asyncio
import timeit
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from wire import telemetry
from wire.clients.base import ServiceClient
from wire.clients.traced import TracedTransport
from wire.context import RequestContext, current, enter
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
        self.spans.clear()


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    telemetry.use(made, "test")
    yield made
    telemetry.stop(1)


@pytest.fixture(autouse=True)
def request_in_hand() -> RequestContext:
    context = RequestContext(uuid.uuid4(), TraceContext.new(), LOCAL)
    enter(context)
    return context


def ids(span: ReadableSpan) -> tuple[str, str | None]:
    """(its own id, its parent's)"""
    assert span.context is not None
    return f"{span.context.span_id:016x}", f"{span.parent.span_id:016x}" if span.parent else None


def test_without_a_collector_nothing_is_switched_on_and_nothing_changes() -> None:
    for environment in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_SERVICE_NAME": "x"},
                        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}):  # fmt: skip
        telemetry.start("test", environment)
        assert not telemetry.on()
    before = current()
    with telemetry.span("step") as step:
        step.tell({"answer": 1})
        assert current() is before
    assert not isinstance(ServiceClient("http://x", name="x")._http._transport, TracedTransport)


def test_a_span_while_they_are_off_costs_less_than_a_new_trace_id() -> None:
    """Compared with what every request does anyway, so that a busy machine does not matter."""

    def step() -> None:
        with telemetry.span("step"):
            pass

    cost = min(timeit.repeat(step, number=2_000, repeat=5))
    assert cost < 3 * min(timeit.repeat(TraceContext.new, number=2_000, repeat=5))


def test_steps_within_steps_are_a_tree(sink: Sink, request_in_hand: RequestContext) -> None:
    with telemetry.span("outer", {"gen_ai.operation.name": "chat", "nothing": None}) as outer:
        with telemetry.span("inner"):
            assert current().run_id == request_in_hand.run_id
        outer.tell({"gen_ai.response.model": "phi4_fast"})
    assert current() == request_in_hand
    inner_span, outer_span = sink.spans
    assert ids(inner_span)[1] == ids(outer_span)[0] and ids(outer_span)[1] == request_in_hand.trace.span_id
    assert outer_span.attributes == {"gen_ai.operation.name": "chat", "gen_ai.response.model": "phi4_fast"}
    assert outer_span.resource.attributes["service.name"] == "test"


def test_a_step_that_fails_says_by_what(sink: Sink) -> None:
    with pytest.raises(KeyError), telemetry.span("step"):
        raise KeyError("x")
    with telemetry.span("other") as other:
        other.error = "tool_error"
    assert [(span.status.status_code, (span.attributes or {})["error.type"]) for span in sink.spans] == [
        (StatusCode.ERROR, "KeyError"), (StatusCode.ERROR, "tool_error"),
    ]  # fmt: skip


async def test_a_step_may_end_in_another_task_than_it_began(sink: Sink) -> None:
    step = telemetry.span("step")
    await asyncio.create_task(_enter(step))
    step.__exit__(None, None, None)
    assert [span.name for span in sink.spans] == ["step"]


async def _enter(step: telemetry.span) -> None:
    step.__enter__()


def test_a_sink_that_fails_costs_nobody_anything(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(span: ReadableSpan) -> None:
        raise RuntimeError("full")

    monkeypatch.setattr(sink, "on_end", failing)
    with telemetry.span("step"):
        pass


def test_what_the_caller_does_not_sample_is_left_out(sink: Sink) -> None:
    enter(RequestContext(uuid.uuid4(), TraceContext("ab" * 16, "12" * 8, "00"), LOCAL))
    with telemetry.span("step"):
        pass
    assert sink.spans == []


class Body(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"a":'
        yield b"1}"


async def test_an_exchange_is_a_client_span_whose_id_goes_out(sink: Sink, request_in_hand: RequestContext) -> None:
    heard: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        heard.append(request)
        return httpx.Response(200 if request.url.path == "/ok" else 500, stream=Body())

    client = ServiceClient("http://there:1", name="there")
    client._http = httpx.AsyncClient(
        base_url="http://there:1", transport=TracedTransport(httpx.MockTransport(answer), "there")
    )
    assert await client.get_json("/ok") == {"a": 1}
    with pytest.raises(Exception, match="500"):
        await client.get_json("/bad")
    good, bad = sink.spans
    sent = TraceContext.parse(heard[0].headers["traceparent"])
    assert sent is not None and (sent.trace_id, sent.span_id) == (request_in_hand.trace.trace_id, ids(good)[0])
    assert ids(good)[1] == ids(bad)[1] == request_in_hand.trace.span_id and good.kind is SpanKind.CLIENT
    told: dict[str, Any] = dict(good.attributes or {})
    assert (told["peer.service"], told["http.response.status_code"]) == ("there", 200)
    assert (bad.attributes or {})["error.type"] == "500"


async def test_an_exchange_that_breaks_or_is_given_up_ends_its_span(sink: Sink) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/away":
            raise httpx.ConnectError("nobody")
        return httpx.Response(200, stream=Body())

    async with httpx.AsyncClient(transport=TracedTransport(httpx.MockTransport(refuse), "there")) as http:
        headers = {"traceparent": current().trace.header}
        with pytest.raises(httpx.ConnectError):
            await http.get("http://x/away", headers=headers)
        async with http.stream("GET", "http://x/stream", headers=headers):
            pass
        await http.get("http://x/untraced")
    assert [(span.name, (span.attributes or {}).get("error.type")) for span in sink.spans] == [
        ("GET /away", "ConnectError"), ("GET /stream", None),
    ]  # fmt: skip
