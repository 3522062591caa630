"""Spans with ids of our own, as the SDK's exporter takes them. Imported only while spans are on."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from wire.telemetry import ATTRIBUTE_CHARS, Finished

_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_SCOPE = InstrumentationScope("capibara6")


def maker(service: str) -> Callable[[Finished], ReadableSpan]:
    """service: `service.name`, where the environment names none."""
    resource = Resource.create({"service.namespace": "capibara6"}).merge(Resource({"service.name": service}))

    def made(span: Finished) -> ReadableSpan:
        told = {key: _cut(value) for key, value in span.attributes.items() if value is not None}
        if span.error is not None:
            told["error.type"] = span.error
        parent = _context(span.trace.trace_id, span.parent, remote=span.kind == "server") if span.parent else None
        return ReadableSpan(
            name=span.name,
            context=_context(span.trace.trace_id, span.trace.span_id, remote=False),
            parent=parent,
            resource=resource,
            attributes=told,
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR if span.error is not None else StatusCode.UNSET),
            start_time=span.began_ns,
            end_time=max(span.began_ns, span.ended_ns),
            instrumentation_scope=_SCOPE,
        )

    return made


def _context(trace_id: str, span_id: str, *, remote: bool) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED))


def _cut(value: str | bool | int | float) -> str | bool | int | float:
    return value[:ATTRIBUTE_CHARS] if isinstance(value, str) else value
