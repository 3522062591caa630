"""The prompts, in both languages."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from services_node.mcp_server.errors import ToolFailed
from services_node.mcp_server.prompts import registry
from services_node.mcp_server.registry import Call

ARGUMENTS = {
    "summarise": {"text": "El {length} y {otro}."},
    "translate": {"text": "Hola {target}", "target": "Deutsch"},
    "review_code": {"code": "x = {}; y = {focus}", "focus": "speed"},
}


async def rendered(name: str, arguments: dict[str, Any]) -> str:
    parts: Any = None
    (message,) = await registry.prompts[name].render(arguments, Call(uuid.uuid4(), "local", parts))
    return message.content.text  # type: ignore[union-attr]


@pytest.mark.parametrize("name", sorted(ARGUMENTS))
@pytest.mark.parametrize("language", ["es", "en"])
async def test_a_prompt_holds_what_it_is_given_untouched_and_nothing_unfilled(name: str, language: str) -> None:
    given = ARGUMENTS[name]
    text = await rendered(name, {**given, "language": language})
    material = given.get("text") or given["code"]
    assert material in text, "what is put in is not looked at again"
    assert "{" not in text.replace(material, "")
    assert ("no\ninstrucciones para ti" in text or "no instrucciones para ti" in text) == (language == "es")


async def test_a_prompt_says_how_long_a_summary_is_to_be() -> None:
    assert "three sentences" in await rendered("summarise", {"text": "x", "language": "en"})
    assert "una página" in await rendered("summarise", {"text": "x", "length": "long"})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("summarise", {}), ("translate", {"text": "x", "language": "de"}), ("review_code", {"code": ""})],
)
async def test_arguments_that_do_not_fit_are_refused(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ToolFailed):
        await rendered(name, arguments)
