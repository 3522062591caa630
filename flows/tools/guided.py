"""Asking a small model for a call: examples to imitate, and a grammar in which it can write nothing but a call.

Models of a few hundred million parameters seldom write OpenAI's tool calls, but they fill in a form they have seen
filled in. Which tools are worth a call was decided before (the smart registry), so the form is always a call.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from flows.tools.calls import Call, Outcome, Tool, read_arguments

_LONGEST_STRING = 2000  # in the grammar, where a schema sets no bound: a small model may not find an end by itself
_ASKED = {
    "en": "Turn the question into one tool call, written as JSON. The tools:",
    "es": "Convierte la pregunta en una sola llamada a una herramienta, escrita como JSON. Las herramientas:",
}
_FAILED = {
    "en": "That call failed: {reason}\nWrite a better one for the same question.",
    "es": "Esa llamada ha fallado: {reason}\nEscribe otra mejor para la misma pregunta.",
}


def grammar(tools: Sequence[Tool]) -> dict[str, Any]:
    """OpenAI's `response_format` that admits one call of one of these tools."""
    forms = [
        {
            "type": "object",
            "properties": {"name": {"const": tool.name}, "arguments": _bounded(tool.input_schema)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    schema = forms[0] if len(forms) == 1 else {"anyOf": forms}
    return {"type": "json_schema", "json_schema": {"name": "tool_call", "schema": schema}}


def _bounded(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with an end to every string, and no more than the tool knows."""
    bounded = {name: value for name, value in schema.items() if name not in {"title", "$schema", "default"}}
    if bounded.get("type") == "string" and not {"enum", "const", "pattern", "format"} & bounded.keys():
        bounded["maxLength"] = min(int(bounded.get("maxLength") or _LONGEST_STRING), _LONGEST_STRING)
    if "properties" in bounded:
        bounded["properties"] = {name: _bounded(value) for name, value in bounded["properties"].items()}
        bounded.setdefault("additionalProperties", False)
    for name in ("anyOf", "oneOf", "allOf"):
        if name in bounded:
            bounded[name] = [_bounded(value) for value in bounded[name]]
    if isinstance(bounded.get("items"), Mapping):
        bounded["items"] = _bounded(bounded["items"])
    return bounded


def messages(
    tools: Sequence[Tool], question: str, locale: str, failures: Sequence[tuple[Call, Outcome]] = ()
) -> list[dict[str, Any]]:
    """What the model reads: the tools, examples of each, the question, and calls of it that failed."""
    listed = "\n".join(f"- {tool.name}({', '.join(_parameters(tool))}): {tool.description}" for tool in tools)
    told: list[dict[str, Any]] = [{"role": "system", "content": f"{_ASKED[locale]}\n{listed}"}]
    for tool in tools:
        for example in tool.examples:
            told += _exchange(example.query, form(tool.name, example.arguments))
    told.append({"role": "user", "content": question})
    for call, outcome in failures:
        told.append({"role": "assistant", "content": form(call.name, call.arguments or {})})
        told.append({"role": "user", "content": _FAILED[locale].format(reason=outcome.text)})
    return told


def form(name: str, arguments: Mapping[str, Any]) -> str:
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)


def _exchange(question: str, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _parameters(tool: Tool) -> list[str]:
    required = set(tool.input_schema.get("required") or ())
    return [name if name in required else f"{name}?" for name in tool.input_schema.get("properties") or {}]


def read(text: str, call_id: str, tools: Sequence[Tool]) -> Call | None:
    """The call a guided model wrote; None when it is none (it was cut off, or the backend knows no grammar)."""
    found = read_arguments(text)
    if found is None or found.get("name") not in {tool.name for tool in tools}:
        return None
    arguments = found.get("arguments")
    return Call(call_id, str(found["name"]), arguments if isinstance(arguments, dict) else None, text)
