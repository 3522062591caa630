"""A run's steps as spans, named by OpenTelemetry's GenAI conventions."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from db.records import StepKind
from wire.telemetry import Value, span

_TOLD = {
    "model": "gen_ai.response.model",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "first_token_ms": "capibara6.first_token_ms",
    "queue_ms": "capibara6.queue_ms",
    "load_ms": "capibara6.load_ms",
}


def step_span(name: str, kind: StepKind, step_id: uuid.UUID) -> span:
    """The span around a step, of the request in hand."""
    attributes: dict[str, Value | None] = {"capibara6.step.id": str(step_id), "capibara6.step.kind": kind}
    if kind == "model_call":
        return span(f"chat {name}", {**attributes, "gen_ai.operation.name": "chat"})
    if kind == "tool_call":
        told = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name}
        return span(f"execute_tool {name}", {**attributes, **told})
    return span(name, attributes)


def told_of(detail: Mapping[str, Any]) -> dict[str, Value | None]:
    """What a step noted, as attributes."""
    return {name: detail[key] for key, name in _TOLD.items() if isinstance(detail.get(key), str | int | float)}
