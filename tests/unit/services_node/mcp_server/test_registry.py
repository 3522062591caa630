"""The registry: schemas from signatures, arguments checked in words a model can act on."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from services_node.mcp_server.arguments import parsed
from services_node.mcp_server.errors import BadArguments
from services_node.mcp_server.parts import Parts, make_parts
from services_node.mcp_server.registry import Call, Registry, ToolReply
from stack.settings import Settings


class Item(BaseModel):
    count: int


class Sum(BaseModel):
    total: float = Field(description="All of it.")


@pytest.fixture
def call(tmp_path: Any) -> Call:
    parts: Parts = make_parts(Settings(home=tmp_path), None)
    return Call(uuid.uuid4(), "ana", parts)


def registry() -> Registry:
    made = Registry()

    @made.tool(title="Adder", read_only=True, timeout_seconds=5, cost="cheap", keywords={"es": ("suma",)})
    async def add(
        numbers: Annotated[list[float], Field(max_length=3, description="What to add.")],
        mode: Literal["plain", "exact"] = "plain",
        items: list[Item] | None = None,
        note: str = "",
        *,
        call: Call,
    ) -> Sum:
        """Adds."""
        assert call.principal == "ana"
        return Sum(total=sum(numbers) + sum(item.count for item in items or []))

    return made


def test_schemas_come_from_the_signature_without_what_costs_a_model_tokens() -> None:
    tool = registry().tools["add"]
    assert (tool.name, tool.description, tool.read_only) == ("add", "Adds.", True)
    schema: Any = tool.input_schema
    assert (schema["type"], schema["required"], schema["additionalProperties"]) == ("object", ["numbers"], False)
    assert schema["properties"]["numbers"]["description"] == "What to add."
    assert "call" not in schema["properties"]
    assert '"title"' not in str(schema).replace("'", '"')
    output: Any = tool.output_schema
    assert output["properties"] == {"total": {"type": "number", "description": "All of it."}}


@pytest.mark.parametrize(
    "arguments",
    [
        {"numbers": [1, 2, 3]},
        {"numbers": ["1", "5"]},
        {"numbers": "[1, 5]"},
        {"numbers": [1], "items": '[{"count": 5}]', "note": "[1]"},
    ],
)
async def test_what_can_be_meant_in_one_way_only_is_taken(call: Call, arguments: dict[str, Any]) -> None:
    reply = await registry().tools["add"].run(arguments, call)
    assert reply == ToolReply(structured=Sum(total=6))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "`numbers` is missing"),
        ({"numbers": "hola"}, '`numbers`: input should be a valid list (got "hola")'),
        (
            {"numbers": [1], "nmbers": 2},
            "there is no argument `nmbers` (arguments: `numbers`, `mode`, `items`, `note`)",
        ),
        ({"numbers": [1], "mode": "z"}, "`mode`: input should be 'plain' or 'exact' (got \"z\")"),
        ({"numbers": [1], "items": [{"count": "q"}]}, "`items.0.count`: input should be a valid integer"),
        ({"numbers": "x" * 500}, "(got a string of 502 characters)"),
    ],
)
async def test_wrong_arguments_are_named_with_what_is_expected(
    call: Call, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadArguments) as refused:
        await registry().tools["add"].run(arguments, call)
    assert told in refused.value.reason
    assert refused.value.reason.endswith(
        'Expected: {"numbers": [number, …], "mode"?: "plain" | "exact", "items"?: [object, …] | null, "note"?: string}.'
    )


def test_text_that_is_no_object_is_told_where_it_stops_being_one() -> None:
    assert parsed('{"a": 1}') == {"a": 1}
    assert parsed(" ") == {}
    with pytest.raises(BadArguments, match="not valid JSON at character 7"):
        parsed('{"a": 1')
    with pytest.raises(BadArguments, match="are a number, not a JSON object"):
        parsed("3")
    with pytest.raises(BadArguments, match="not valid JSON"):
        parsed("[" * 100_000)


async def test_a_result_that_breaks_its_own_schema_is_a_fault_of_the_tool(call: Call) -> None:
    made = Registry()
    promises: Any = {"title": "", "timeout_seconds": 1, "cost": "cheap", "keywords": {}, "output": Sum}

    @made.tool(**promises)
    async def careless(structured: dict[str, Any]) -> ToolReply:
        """Answers with what it was given."""
        return ToolReply(structured=structured)

    run = made.tools["careless"].run
    assert await run({"structured": {"total": 1}}, call) == ToolReply(structured=Sum(total=1))
    with pytest.raises(ValidationError):
        await run({"structured": {"tot": 1}}, call)


def test_a_name_is_registered_once_and_a_tool_can_be_cancelled_and_described() -> None:
    whole = Registry()
    whole.include(registry())
    with pytest.raises(ValueError, match="'add' is registered twice"):
        whole.include(registry())
    promises: Any = {"title": "", "timeout_seconds": 1, "cost": "cheap", "keywords": {}}
    with pytest.raises(TypeError, match="`async def`"):
        whole.tool(**promises)(lambda: None)  # type: ignore[arg-type, return-value]

    async def untyped(value):  # type: ignore[no-untyped-def]
        """Has no type."""

    with pytest.raises(TypeError, match="'value' needs a name and a type"):
        whole.tool(**promises)(untyped)

    async def undescribed() -> Sum: ...

    with pytest.raises(TypeError, match="no docstring"):
        whole.tool(**promises)(undescribed)


def test_a_template_matches_its_own_uris_only() -> None:
    made = Registry()

    @made.resource("capibara6://runs/{run_id}/steps/{step}", name="step")
    async def step(run_id: str, step: str) -> str:
        """A step."""
        return run_id + step

    resource = made.resources["capibara6://runs/{run_id}/steps/{step}"]
    assert resource.match("capibara6://runs/a-1/steps/2") == {"run_id": "a-1", "step": "2"}
    for wrong in ("capibara6://runs/a/b/steps/2", "capibara6://runs//steps/2", "xcapibara6://runs/a/steps/2",
                  "capibara6://runs/a/steps/2?x", "capibara6://runs/a/steps/2\n"):  # fmt: skip
        assert resource.match(wrong) is None
    with pytest.raises(TypeError, match="not the variables"):

        @made.resource("capibara6://files/{id}", name="file")
        async def file(name: str) -> str:
            """A file."""
            return name


async def test_a_prompt_is_rendered_and_knows_its_choices(call: Call) -> None:
    made = Registry()

    @made.prompt(title="Translate")
    def translate(text: str, language: Literal["es", "en"] = "es") -> str:
        """Translates."""
        return f"{language}: {text}"

    prompt = made.prompts["translate"]
    assert prompt.choices("language") == ("es", "en")
    assert prompt.choices("text") == ()
    [message] = await prompt.render({"text": "hola"}, call)  # type: ignore[misc]
    assert (message.role, message.content.text) == ("user", "es: hola")  # type: ignore[union-attr]
    with pytest.raises(BadArguments, match="`text` is missing"):
        await prompt.render({}, call)
