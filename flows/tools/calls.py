"""What a tool is, what a model asked of it, and what came of it. Plain values, no effects."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from json_repair import repair_json

META = "capibara6/"
MOST_ARGUMENT_CHARS = 100_000
MOST_MENDED_CHARS = 4000  # mending takes time that grows with the square of what is broken


@dataclass(frozen=True, slots=True)
class Example:
    """A question and the arguments that answer it: what a small model imitates."""

    query: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its server describes it. untrusted: its results come from outside, and may say anything."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    read_only: bool = False
    idempotent: bool = False
    open_world: bool = True
    untrusted: bool = False
    timeout_seconds: float = 30.0
    examples: tuple[Example, ...] = ()
    score: float = 0.0

    @classmethod
    def of(cls, descriptor: Mapping[str, Any]) -> Tool:
        """From an entry of MCP's `tools/list`. What is left out counts as the spec says: neither read-only nor safe."""
        annotations, meta = descriptor.get("annotations") or {}, descriptor.get("_meta") or {}
        return cls(
            name=str(descriptor["name"]),
            description=str(descriptor.get("description") or ""),
            input_schema=_schema(descriptor.get("inputSchema")),
            read_only=annotations.get("readOnlyHint") is True,
            idempotent=annotations.get("idempotentHint") is True or annotations.get("readOnlyHint") is True,
            open_world=annotations.get("openWorldHint") is not False,
            untrusted=meta.get(f"{META}untrusted") is True,
            timeout_seconds=float(meta.get(f"{META}timeout_seconds") or 30.0),
            examples=tuple(
                Example(str(one["query"]), one["arguments"]) for one in meta.get(f"{META}examples") or () if one
            ),
            score=float(descriptor.get("score") or 0.0),
        )

    def openai(self) -> dict[str, Any]:
        """As OpenAI's `tools` wants it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.input_schema)}
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True)
class Call:
    """What a model asked for. arguments: None where what it wrote is no JSON object, even mended; raw: as written."""

    id: str
    name: str
    arguments: Mapping[str, Any] | None
    raw: str

    @classmethod
    def written(cls, call_id: str, name: str, raw: str, *, cut_off: bool = False) -> Call:
        """cut_off: the model came to its limit while it wrote; what is not whole then is not mended."""
        arguments = whole_arguments(raw) if cut_off else read_arguments(raw)
        return cls(call_id, name, arguments, raw[:MOST_ARGUMENT_CHARS])

    def openai(self) -> dict[str, Any]:
        """As it stands in an assistant's message."""
        written = json.dumps(self.arguments, ensure_ascii=False) if self.arguments is not None else self.raw
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": written}}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call. text: what the model reads. error_code: None when it went well."""

    text: str
    error_code: str | None = None
    untrusted: bool = False

    @property
    def failed(self) -> bool:
        return self.error_code is not None


def _schema(told: Any) -> Mapping[str, Any]:
    """The schema of an object; of another's server it may be anything."""
    known = told if isinstance(told, Mapping) else {}
    return known if isinstance(known.get("properties") or {}, Mapping) else {"type": "object", "properties": {}}


def read_arguments(raw: str) -> dict[str, Any] | None:
    """The JSON object a model wrote, mended where small models break it (quotes, commas, fences, an open end)."""
    text = raw.strip()
    if not text:
        return {}
    if len(text) > MOST_ARGUMENT_CHARS:
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        if "{" not in text or len(text) > MOST_MENDED_CHARS:
            return None
        try:
            found = json.loads(repair_json(text))
        except (ValueError, RecursionError):
            return None
    if isinstance(found, str):  # a JSON object written as a JSON string
        try:
            found = json.loads(found)
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def whole_arguments(raw: str) -> dict[str, Any] | None:
    """The JSON object, where it is one as it stands."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


@dataclass(slots=True)
class _Growing:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class CallDeltas:
    """Tool calls of a streamed answer, put together from OpenAI's deltas. most: calls kept of one answer."""

    most: int
    _growing: dict[int, _Growing] = field(default_factory=dict)

    def add(self, deltas: Sequence[Mapping[str, Any]]) -> None:
        for delta in deltas:
            index = int(delta.get("index") or 0)
            if index not in self._growing and len(self._growing) >= self.most:
                continue
            call, function = self._growing.setdefault(index, _Growing()), delta.get("function") or {}
            call.id = call.id or str(delta.get("id") or "")
            call.name += str(function.get("name") or "")
            piece = str(function.get("arguments") or "")
            if call.size <= MOST_ARGUMENT_CHARS:
                call.arguments.append(piece)
                call.size += len(piece)

    def calls(self, *, cut_off: bool = False) -> list[Call]:
        """The calls, in order; one that has no name is none."""
        ordered = [self._growing[index] for index in sorted(self._growing)]
        return [
            Call.written(one.id or f"call_{number}", one.name, "".join(one.arguments), cut_off=cut_off)
            for number, one in enumerate(ordered)
            if one.name
        ]
