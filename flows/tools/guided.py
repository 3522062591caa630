"""Asking a small model for a call: examples to imitate, and a grammar in which it can write nothing but a call.

Models of a few hundred million parameters seldom write OpenAI's tool calls, but they fill in a form they have seen
filled in. Which tools are worth a call was decided before (the smart registry), so the form is always a call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.tools.calls import Call, Example, Outcome, Tool, read_arguments, whole_arguments
from flows.tools.policy import CONTAINED

_OF_A_GRAMMAR = frozenset(
    {
        "type", "enum", "const", "properties", "required", "additionalProperties", "items", "anyOf", "oneOf", "allOf",
        "minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    }
)  # fmt: skip
DEPTH = 8  # of a schema's parts within parts; what is deeper may be anything
MOST_PARTS = 500  # of a schema
MOST_EXAMPLES = 4  # of one tool: the likest to the question
_LONGEST_REASON = 300
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
            "properties": {"name": {"const": tool.name}, "arguments": _form_of(tool)},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in tools
    ]
    schema = forms[0] if len(forms) == 1 else {"anyOf": forms}
    return {"type": "json_schema", "json_schema": {"name": "tool_call", "schema": schema}}


def _form_of(tool: Tool) -> dict[str, Any]:
    """The tool's arguments, but for those that are neither required nor in any example: one thing less to get wrong."""
    schema = tool.input_schema
    shown = set(schema.get("required") or ()).union(*(example.arguments for example in tool.examples))
    properties = {name: value for name, value in (schema.get("properties") or {}).items() if name in shown}
    return _Form(schema.get("$defs") or {}).of({**schema, "properties": properties})


@dataclass(slots=True)
class _Form:
    """A schema made into a form: an end to every string, definitions in place, no more words than a grammar needs.

    Others' schemas may say anything: what is no schema, too deep or too much may be filled in with anything. left:
    parts that may still be looked at.
    """

    definitions: Mapping[str, Any]
    left: int = MOST_PARTS

    def of(self, schema: Any, depth: int = DEPTH) -> dict[str, Any]:
        self.left -= 1
        if depth == 0 or self.left < 0 or not isinstance(schema, Mapping):
            return {}
        target = str(schema.get("$ref") or "").removeprefix("#/$defs/")
        if target:
            return self.of(self.definitions.get(target), depth - 1)
        form = {name: value for name, value in schema.items() if name in _OF_A_GRAMMAR}
        if form.get("type") == "string" and not {"enum", "const"} & form.keys():
            longest = form.get("maxLength")
            form["maxLength"] = min(longest if isinstance(longest, int) else _LONGEST_STRING, _LONGEST_STRING)
        if isinstance(form.get("properties"), Mapping):
            form["properties"] = {name: self.of(value, depth - 1) for name, value in form["properties"].items()}
            form["additionalProperties"] = False
        for name in ("anyOf", "oneOf", "allOf"):
            if isinstance(form.get(name), list):
                form[name] = [self.of(value, depth - 1) for value in form[name]]
        if "items" in form:
            form["items"] = self.of(form["items"], depth - 1)
        return form


def messages(
    tools: Sequence[Tool], question: str, locale: str, failures: Sequence[tuple[Call, Outcome]] = ()
) -> list[dict[str, Any]]:
    """What the model reads: the tools, examples of each, the question, and calls of it that failed."""
    listed = "\n".join(f"- {tool.name}({', '.join(_parameters(tool))}): {_first_sentence(tool)}" for tool in tools)
    told: list[dict[str, Any]] = [{"role": "system", "content": f"{_ASKED[locale]}\n{listed}"}]
    for tool in tools:
        for example in likest(question, tool.examples):
            told += _exchange(example.query, form(tool.name, example.arguments))
    told.append({"role": "user", "content": question})
    for call, outcome in failures:
        told.append({"role": "assistant", "content": form(call.name, call.arguments or {})})
        told.append({"role": "user", "content": _FAILED[locale].format(reason=_reason(outcome))})
    return told


def _reason(outcome: Outcome) -> str:
    """What went wrong, without what else the tool understands: a small model would take that for the answer."""
    return outcome.text.split(". ")[0][:_LONGEST_REASON]


def is_grounded(call: Call, question: str) -> bool:
    """Whether another try stays with the question: numbers that stand nowhere in it were copied from an example."""
    if call.name in CONTAINED:
        return True  # code has numbers of its own
    written = _numbers(" ".join(str(value) for value in (call.arguments or {}).values()))
    return written <= _numbers(question)


def _numbers(text: str) -> set[str]:
    return {number.replace(",", ".").rstrip("0").rstrip(".") or "0" for number in re.findall(r"\d+(?:[.,]\d+)*", text)}


def form(name: str, arguments: Mapping[str, Any]) -> str:
    return json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)


def likest(question: str, examples: Sequence[Example]) -> list[Example]:
    """The examples that share most of the question's words and kinds of signs, the likest last: it is imitated most."""
    asked = _features(question)

    def likeness(example: Example) -> float:
        its = _features(example.query)
        return len(asked & its) / (len(asked | its) or 1)

    return sorted(examples, key=likeness)[-MOST_EXAMPLES:]


def _features(text: str) -> set[str]:
    """Words, signs, and `#` for every number, so that questions of one form are alike whatever their numbers."""
    return set(re.findall(r"[a-záéíóúñü]+|[^\w\s]", re.sub(r"\d+(?:[.,]\d+)*", "#", text.lower())))


def _first_sentence(tool: Tool) -> str:
    return tool.description.split(". ")[0].strip()


def _exchange(question: str, answer: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _parameters(tool: Tool) -> list[str]:
    return list(_form_of(tool).get("properties") or {})


def read(text: str, call_id: str, tools: Sequence[Tool], *, cut_off: bool = False) -> Call | None:
    """The call a guided model wrote; None when it is none. One that a backend without a grammar broke is mended, one
    that was cut off is not."""
    found = whole_arguments(text) if cut_off else read_arguments(text)
    if found is None or found.get("name") not in {tool.name for tool in tools}:
        return None
    arguments = found.get("arguments")
    return Call(call_id, str(found["name"]), arguments if isinstance(arguments, dict) else None, text)
