"""What others said, made fit to be kept: models' words, user code's, tools' results. Pure.

Postgres takes no NULs and no halves of surrogate pairs, its JSON no infinities; and what a model makes up as arguments
of a tool may be as deep and as long as it likes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from db.records import StepRecord, ToolCallRecord

DETAIL_CHARS = 2000  # of an error
TEXT_CHARS = 32_000  # of each text within a tool call or a step's detail
ITEMS = 1000  # of each list or object in there
DEPTH = 32
CUT = "…"


def text(value: str) -> str:
    return value.replace("\x00", "\ufffd").encode(errors="replace").decode()


def detail(value: str | None) -> str | None:
    return text(value)[:DETAIL_CHARS] if value else value


def plain(value: Any, depth: int = DEPTH) -> Any:
    """The value as JSON that Postgres takes: what is too long, too many or too deep is cut, what is no JSON is text."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return text(value if len(value) <= TEXT_CHARS else value[:TEXT_CHARS] + CUT)
        case Mapping() | list() | tuple() if depth == 0:
            return CUT
        case Mapping():
            items = list(value.items())[:ITEMS]
            return {text(str(name)[:TEXT_CHARS]): plain(one, depth - 1) for name, one in items}
        case list() | tuple():
            return [plain(one, depth - 1) for one in value[:ITEMS]]
        case _:
            return text(str(value))


def written_calls(calls: Sequence[ToolCallRecord]) -> list[dict[str, Any]] | None:
    """The column `messages.tool_calls`; None where there were none."""
    return [call_told(call) for call in calls] or None


def call_told(call: ToolCallRecord) -> dict[str, Any]:
    """The record as an object of JSON, in which whatever stands in it can be kept."""
    told = {field.name: plain(getattr(call, field.name)) for field in fields(call)}
    if call.error is not None:
        told["error"] = {name: detail(str(word)) for name, word in call.error.items()}
    return told


def read_calls(written: Iterable[Mapping[str, Any]] | None) -> tuple[ToolCallRecord, ...]:
    return tuple(ToolCallRecord(**one) for one in written or ())


def written_step(step: StepRecord) -> dict[str, Any]:
    return {
        "id": str(step.id),
        "name": text(step.name),
        "kind": step.kind,
        "parent_id": str(step.parent_id) if step.parent_id else None,
        "status": step.status,
        "detail": None if step.detail is None else plain(step.detail),
        "error_code": step.error_code and text(step.error_code),
        "error_detail": detail(step.error_detail),
        "started_at": step.started_at.isoformat(),
        "ended_at": step.ended_at.isoformat() if step.ended_at else None,
    }
