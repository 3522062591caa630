"""One request through two services, as a collector sees it: one tree of spans, with the ids that the headers carry."""

from __future__ import annotations

import gzip
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from installation import eventually
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from smart_pair import Pair

from wire.trace import TraceContext


class Collector:
    """An OTLP receiver over HTTP. spans: (service, span), as they come."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                outer.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            named = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
            self.spans += [(named["service.name"], span) for scope in resource.scope_spans for span in scope.spans]

    def of(self, trace_id: str) -> list[tuple[str, Span]]:
        return [(service, span) for service, span in self.spans if span.trace_id.hex() == trace_id]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[Pair]:
    pair = Pair(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    try:
        pair.start_server()
        pair.start_smart()
        pair.wait_for_tools()
        yield pair
    finally:
        pair.close()


def call(pair: Pair, caller: TraceContext, run: str, *, meta_trace: str | None = None) -> httpx.Response:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"}, "traceparent": meta_trace or caller.header,
    }  # fmt: skip
    params = {"name": "calculate", "arguments": {"expression": "2+2"}, "_meta": meta}
    headers = {
        "accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call", "mcp-name": "calculate", "x-capibara6-run-id": run, "traceparent": caller.header,
    }  # fmt: skip
    return httpx.post(
        f"{pair.smart}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, headers=headers
    )


def test_the_spans_of_a_call_through_both_services_are_one_tree(traced: Pair, collector: Collector) -> None:
    caller, run = TraceContext.new(), str(uuid.uuid4())
    reply = call(traced, caller, run)
    assert reply.json()["result"]["isError"] is False
    told = TraceContext.parse(reply.headers["traceparent"])
    assert told is not None and told.trace_id == caller.trace_id

    found = eventually(lambda: len(spans := collector.of(caller.trace_id)) >= 5 and spans, 20, "all spans have come")
    by_id = {span.span_id.hex(): (service, span) for service, span in found}
    path = []
    at = next(key for key, (_, span) in by_id.items() if span.name == "execute_tool calculate")
    while at != caller.span_id:
        service, span = by_id[at]
        path.append((service, Span.SpanKind.Name(span.kind)[10:].lower(), span.name))
        parent = by_id.get(span.parent_span_id.hex())
        if parent is not None:
            assert parent[1].start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        at = span.parent_span_id.hex()
    assert path[::-1] == [
        ("smart-mcp", "server", "POST /mcp"),
        ("smart-mcp", "internal", "forward calculate"),
        ("smart-mcp", "client", "POST /mcp"),
        ("mcp-server", "server", "POST /mcp"),
        ("mcp-server", "internal", "execute_tool calculate"),
    ]
    server = by_id[told.span_id][1]
    assert server.parent_span_id.hex() == caller.span_id, "the reply tells the id of the server's span"
    attributes = {pair.key: pair.value for pair in server.attributes}
    assert attributes["capibara6.run_id"].string_value == run
    assert attributes["http.response.status_code"].int_value == 200


def test_a_trace_that_is_not_sampled_leaves_no_spans(traced: Pair, collector: Collector) -> None:
    quiet, after = TraceContext("ab" * 16, "12" * 8, "00"), TraceContext.new()
    call(traced, quiet, str(uuid.uuid4()))
    call(traced, after, str(uuid.uuid4()))
    eventually(lambda: len(collector.of(after.trace_id)) >= 5, 20, "the later call's spans have come")
    assert collector.of(quiet.trace_id) == []


def test_what_waits_is_sent_when_the_service_stops(traced: Pair, collector: Collector) -> None:
    """The last of this module: the service stops."""
    last = TraceContext.new()
    assert call(traced, last, str(uuid.uuid4())).status_code == 200
    traced.stop("smart-mcp")
    assert {service for service, _ in collector.of(last.trace_id)} >= {"smart-mcp"}


def test_with_nobody_at_the_address_requests_are_answered_and_it_stops_in_time() -> None:
    pair = Pair(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    try:
        pair.start_smart()
        assert [pair.post("/select", {"query": "hola"}).status_code for _ in range(20)] == [503] * 20
        pair.stop("smart-mcp")
    finally:
        pair.close()
