"""OpenTelemetry spans, off unless the standard environment names a collector.

`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` switch it on; OTLP over HTTP, batches in a thread
of their own, a bounded queue that drops what does not fit: no request waits for it or fails by it. The ids are those of
`wire.trace`: a server span has the id that the reply's `traceparent` tells, so runs, logs and spans are one trace.
Names and attributes: OpenTelemetry's semantic conventions for HTTP and for GenAI.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextvars import Token
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol

from wire.context import RequestContext, current, entered, left
from wire.trace import TraceContext

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

log = logging.getLogger("wire.telemetry")

SWITCHES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
QUEUE, BATCH = 2048, 512  # spans that wait, and that are sent together
DELAY_MS, EXPORT_MS = 1_000, 5_000
LAST_SPANS_SECONDS = 2.0  # for what is not sent yet, when a process stops
ATTRIBUTE_CHARS = 1_000  # longest value; longer ones are cut

Kind = Literal["internal", "server", "client"]
Value = str | bool | int | float
Attributes = Mapping[str, Value | None]


class _Sink(Protocol):
    def on_end(self, span: ReadableSpan) -> None: ...

    def force_flush(self, timeout_millis: int | None = None) -> bool: ...

    def shutdown(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Finished:
    """A span that has ended. trace: its own id; parent: the span it is part of. *_ns: since 1970. error: one word."""

    name: str
    trace: TraceContext
    parent: str | None
    kind: Kind
    began_ns: int
    ended_ns: int
    attributes: Attributes
    error: str | None


class _Process:
    """Where this process's spans go, and how they are made into the SDK's; nowhere while spans are off."""

    sink: _Sink | None = None
    made: Callable[[Finished], ReadableSpan]


_process = _Process()


def on() -> bool:
    return _process.sink is not None


def start(service: str, environment: Mapping[str, str] = os.environ) -> None:
    """Switches spans on where the environment asks for them. Raises nothing: without spans a service still serves."""
    endpoint = next((environment[name] for name in SWITCHES if environment.get(name)), None)
    if endpoint is None or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        sink = BatchSpanProcessor(
            OTLPSpanExporter(timeout=EXPORT_MS / 1000),
            max_queue_size=QUEUE,
            max_export_batch_size=BATCH,
            schedule_delay_millis=DELAY_MS,
            export_timeout_millis=EXPORT_MS,
        )
    except Exception as error:
        log.warning("spans are not sent", extra={"reason": repr(error)})
        return
    use(sink, service)
    log.info("spans are sent", extra={"endpoint": endpoint})


def use(sink: _Sink, service: str) -> None:
    """Spans of `service` go to `sink`."""
    from wire.telemetry_spans import maker

    _process.made = maker(service)
    _process.sink = sink


def stop(seconds: float = LAST_SPANS_SECONDS) -> None:
    """Sends what waits, for at most so long, and switches spans off."""
    sink, _process.sink = _process.sink, None
    if sink is not None:
        try:
            sink.force_flush(int(seconds * 1000))
            sink.shutdown()
        except Exception as error:
            log.warning("the last spans were not sent", extra={"reason": repr(error)})


def record(
    name: str,
    trace: TraceContext,
    *,
    parent: str | None,
    kind: Kind,
    began_ns: int,
    attributes: Attributes,
    error: str | None = None,
) -> None:
    """A span that ends now (see Finished). One that the caller's flags do not sample is left out. Raises nothing."""
    sink = _process.sink
    if sink is None or not int(trace.flags, 16) & 1:
        return
    try:
        sink.on_end(_process.made(Finished(name, trace, parent, kind, began_ns, time.time_ns(), attributes, error)))
    except Exception as failure:
        log.debug("a span was lost", extra={"reason": repr(failure)})


class span:
    """A step of the request in hand, as a span around it; what is called inside is part of it.

    name, attributes: by the GenAI conventions where there is one (`chat phi4_fast`, `execute_tool calculate`). context:
    the request, where it is not the current one. An exception marks it failed and goes on. While spans are off it does
    nothing.
    """

    __slots__ = ("_attributes", "_began", "_context", "_name", "_parent", "_token", "_trace", "error")

    def __init__(self, name: str, attributes: Attributes | None = None, context: RequestContext | None = None) -> None:
        self._name = name
        self._attributes = attributes
        self._context = context
        self._token: Token[RequestContext | None] | None = None
        self.error: str | None = None  # one word for what went wrong without an exception

    def __enter__(self) -> span:
        if _process.sink is not None:
            known = self._context or current()
            self._parent, self._trace = known.trace.span_id, known.trace.child()
            self._began = time.time_ns()
            self._token = entered(replace(known, trace=self._trace))
        return self

    def tell(self, attributes: Attributes) -> None:
        """More of it, known only now."""
        if self._token is not None:
            self._attributes = {**(self._attributes or {}), **attributes}

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is None:
            return
        left(self._token)
        self._token = None
        error = kind.__name__ if kind is not None else self.error
        record(
            self._name,
            self._trace,
            parent=self._parent,
            kind="internal",
            began_ns=self._began,
            attributes=self._attributes or {},
            error=error,
        )
