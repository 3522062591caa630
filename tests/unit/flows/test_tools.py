"""Tools as models meet them: descriptors, broken arguments, forms, and who may call what."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from flows.tools import guided
from flows.tools.box import ServedTools, Surroundings, ToolLimits
from flows.tools.calls import Call, CallDeltas, Example, Outcome, Tool, read_arguments
from flows.tools.policy import Allowed
from flows.tools.python import PythonCall
from flows.tools.text import HeldText, written_calls
from wire.clients.mcp import ToolResult
from wire.context import RequestContext
from wire.ids import uuid7
from wire.principals import LOCAL
from wire.trace import TraceContext

DESCRIPTOR: dict[str, Any] = {
    "name": "fetch_url",
    "description": "Reads a page. Nothing private.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "url": {"type": "string", "title": "Url", "description": "where"},
            "part": {"anyOf": [{"$ref": "#/$defs/Part"}, {"type": "null"}], "default": None},
        },
        "required": ["url"],
        "$defs": {"Part": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
    "annotations": {"readOnlyHint": True, "openWorldHint": True},
    "_meta": {
        "capibara6/timeout_seconds": 12,
        "capibara6/untrusted": True,
        "capibara6/examples": [{"query": "Read https://example.org", "arguments": {"url": "https://example.org"}}],
    },
    "score": 1.5,
}


def test_a_descriptor_becomes_a_tool() -> None:
    tool = Tool.of(DESCRIPTOR)
    assert (tool.read_only, tool.idempotent, tool.open_world, tool.untrusted) == (True, True, True, True)
    assert tool.timeout_seconds == 12 and tool.score == 1.5 and tool.examples[0].arguments["url"]


def test_one_that_promises_nothing_counts_as_one_that_acts() -> None:
    tool = Tool.of({"name": "x"})
    assert (tool.read_only, tool.idempotent, tool.open_world) == (False, False, True)
    assert not Allowed().offers(tool) and Allowed(frozenset({"x"})).offers(tool)


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [
        ("", {}),
        ('{"a": 1}', {"a": 1}),
        ("{'a': 1}", {"a": 1}),
        ('{"a": 1,}', {"a": 1}),
        ('{"a": "b', {"a": "b"}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ("[1]", None),
        ("nonsense", None),
        ("null", None),
        ("{" * 5000, None),
        ("{" + "x" * 200_000, None),
    ],
)
def test_arguments_are_read_and_mended(raw: str, arguments: Any) -> None:
    found = read_arguments(raw)
    assert found == arguments or (raw == "{" * 5000 and (found is None or isinstance(found, dict)))


def test_deltas_of_calls_are_put_together_and_bounded() -> None:
    deltas = CallDeltas(2)
    deltas.add([{"index": 0, "id": "a", "function": {"name": "x", "arguments": '{"n"'}}])
    deltas.add([{"index": 1, "function": {"name": "y"}}, {"index": 0, "function": {"arguments": ": 1}"}}])
    deltas.add([{"index": 2, "function": {"name": "z"}}, {}])
    assert [(call.id, call.name, call.arguments) for call in deltas.calls()] == [
        ("a", "x", {"n": 1}), ("call_1", "y", {}),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"name": "x", "arguments": {"a": 1}}', ["x"]),
        ('```json\n{"name": "x", "parameters": {"a": 1}}\n```', ["x"]),
        ('<tool_call>{"name": "x", "arguments": "{\\"a\\": 1}"}</tool_call>', ["x"]),
        ('<tool_call>{"name": "x"}</tool_call>\n<tool_call>{"name": "x"}</tool_call>', ["x", "x"]),
        ('[TOOL_CALLS] [{"name": "x", "arguments": {}}, {"name": "x"}]', ["x", "x"]),
        ('{"name": "x"}{"name": "x"}', ["x", "x"]),
        ('{"name": "x"} and more', []),
        ('{"name": "unknown", "arguments": {}}', []),
        ('I call {"name": "x"}', []),
        ("{}", []),
        ("", []),
    ],
)
def test_calls_written_into_the_text_are_found_only_where_they_are_all_of_it(text: str, names: list[str]) -> None:
    assert [call.name for call in written_calls(text, {"x"})] == names


def test_text_that_cannot_be_a_call_passes_at_once() -> None:
    held = HeldText({"x"})
    assert held.take("Hel") == "Hel" and held.take('{"name"') == '{"name"' and held.rest() == ("", [])


def test_text_that_may_be_a_call_is_held_until_it_is_told_apart() -> None:
    held = HeldText({"x"})
    assert held.take("<tool") == "" and held.take("box> is a tag") == "<toolbox> is a tag"


def test_the_form_has_no_references_no_optional_frills_and_an_end_to_every_string() -> None:
    schema = guided.grammar([Tool.of(DESCRIPTOR)])["json_schema"]["schema"]
    assert schema["properties"]["arguments"]["properties"] == {"url": {"type": "string", "maxLength": 2000}}
    assert "$ref" not in json.dumps(schema) and "$defs" not in json.dumps(schema)


def test_a_part_of_a_definition_stands_in_its_place_when_an_example_uses_it() -> None:
    examples = [{"query": "q", "arguments": {"url": "u", "part": {"name": "n"}}}]
    tool = Tool.of({**DESCRIPTOR, "_meta": {"capibara6/examples": examples}})
    part = guided.grammar([tool])["json_schema"]["schema"]["properties"]["arguments"]["properties"]["part"]
    assert part["anyOf"][0]["properties"]["name"]["type"] == "string"


def test_a_definition_of_itself_ends() -> None:
    endless = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"],
               "$defs": {"A": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}}  # fmt: skip
    assert json.dumps(guided.grammar([Tool.of({"name": "x", "inputSchema": endless})]))


def test_the_likest_example_stands_last() -> None:
    examples = [Example("What is 8 times 9?", {}), Example("¿Qué hora es?", {}), Example("Convert 3 km to miles", {})]
    assert guided.likest("What is 17 times 23?", examples)[-1].query == "What is 8 times 9?"
    assert guided.likest("Convert 100 km to miles", examples)[-1].query == "Convert 3 km to miles"


@pytest.mark.parametrize("text", ['{"name": "y", "arguments": {}}', "nothing", '{"name": 3}'])
def test_what_is_no_call_of_an_offered_tool_is_none(text: str) -> None:
    assert guided.read(text, "1", [Tool.of({"name": "x"})]) is None


def test_policy_names_what_there_is_and_what_is_missing() -> None:
    acts, reads = Tool.of({"name": "acts"}), Tool.of(DESCRIPTOR)
    call = Call("1", "acts", {}, "{}")

    def code(outcome: Outcome | None) -> str | None:
        return outcome.error_code if outcome else None

    assert code(Allowed().refuses(call, None, ["a", "b"], tainted=False)) == "unknown_tool"
    assert code(Allowed().refuses(call, acts, [], tainted=False)) == "tool_not_allowed"
    assert code(Allowed().refuses(call, reads, [], tainted=False)) is None
    assert code(Allowed().refuses(call, reads, [], tainted=True)) == "tool_not_allowed"
    named = Allowed(frozenset({"acts", "fetch_url"}))
    assert code(named.refuses(call, acts, [], tainted=True)) is None
    assert code(named.refuses(Call("1", "acts", None, "x"), acts, [], tainted=False)) == "unreadable_arguments"


@pytest.mark.parametrize(
    "arguments",
    [{}, {"code": ""}, {"code": 5}, *({"code": "1", "timeout_seconds": wrong} for wrong in ("soon", 0, -1, True))],
)
def test_wrong_arguments_of_run_python_are_told_to_the_model(arguments: dict[str, Any]) -> None:
    refused = PythonCall.of(arguments, 60)
    assert isinstance(refused, Outcome) and refused.error_code == "invalid_arguments"


def test_code_gets_what_its_tool_has_left() -> None:
    assert PythonCall.of({"code": "1"}, 60) == PythonCall("1", 55)
    assert PythonCall.of({"code": "1", "timeout_seconds": 900}, 60) == PythonCall("1", 55)
    assert PythonCall.of({"code": "1", "timeout_seconds": 2}, 60) == PythonCall("1", 2)


STRANGE_SCHEMAS: list[Any] = [
    None, [], "x", {"properties": []}, {"properties": {"a": True}, "required": ["a"]},
    {"properties": {"a": {"type": "string", "maxLength": "x"}}, "required": ["a"]},
    {"properties": {"a": {"anyOf": "x", "items": False}}, "required": ["a"]},
]  # fmt: skip


@pytest.mark.parametrize("schema", STRANGE_SCHEMAS)
def test_a_strange_schema_of_anothers_server_breaks_nothing(schema: Any) -> None:
    assert json.dumps(guided.grammar([Tool.of({"name": "x", "inputSchema": schema})]))


def test_a_schema_that_grows_when_it_is_written_out_is_cut() -> None:
    many = {f"p{number}": {"$ref": "#/$defs/A"} for number in range(200)}
    endless = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "required": ["a"],
               "$defs": {"A": {"type": "object", "properties": many}}}  # fmt: skip
    assert len(json.dumps(guided.grammar([Tool.of({"name": "x", "inputSchema": endless})]))) < 100_000


@pytest.mark.parametrize("text", ["```json{" + " " * 20_000 + "x", "{" * 30_000, '{"a":' + "(" * 30_000])
def test_hostile_text_is_told_apart_at_once(text: str) -> None:
    began = time.process_time()
    assert written_calls(text, {"x"}) == []
    assert time.process_time() - began < 1, "time that grows with the square of the text"


class Registry:
    """`SmartRegistry` and `ToolServer`: what the test says."""

    def __init__(self, *tools: dict[str, Any], text: str = "", meta: dict[str, Any] | None = None) -> None:
        self.told, self.result = tools, ToolResult(({"type": "text", "text": text},), None, False, meta or {})

    async def select(self, query: str, *, limit: int, allowed: Any) -> Any:
        return self.told[:limit]

    async def tools(self) -> Any:
        return self.told

    async def call_tool(self, name: str, arguments: Any, **rest: Any) -> ToolResult:
        return self.result

    async def close(self) -> None: ...


def box(registry: Registry) -> ServedTools:
    return ServedTools(registry, registry, None, ToolLimits(offered=2, select_seconds=5, result_chars=30))  # type: ignore[arg-type]


async def test_tools_that_may_not_be_used_take_no_place_of_those_that_may() -> None:
    reads = {"annotations": {"readOnlyHint": True}}
    served = box(Registry(*({"name": f"acts{number}"} for number in range(5)), {"name": "reads", **reads}))
    assert [tool.name for tool in await served.offered("hola", Allowed())] == ["reads"]


async def test_a_cut_leaves_the_mark_at_the_end_of_text_from_outside() -> None:
    text = "<<<untrusted content from x>>>\n" + "a" * 100 + "\n<<<end of untrusted content>>>"
    served = box(Registry(text=text, meta={"capibara6/untrusted": True}))
    around = Surroundings(RequestContext(uuid7(), TraceContext.new(), LOCAL), uuid7(), "en", *[None] * 5)  # type: ignore[arg-type]
    outcome = await served.call(Call("1", "x", {}, ""), Tool.of({"name": "x"}), around)
    assert outcome.untrusted and outcome.text.endswith("\n<<<end of untrusted content>>>") and "cut off" in outcome.text


async def test_names_that_no_tool_has_are_found() -> None:
    assert await box(Registry({"name": "a"})).unknown({"a", "b"}) == ["b"]
