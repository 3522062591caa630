"""A tool as 5003 describes it, and what of that a question is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services_node.smart_mcp.words import stems

KEYWORDS = "capibara6/keywords"
Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Descriptor:
    """wire: the entry of `tools/list`, passed on untouched. phrases: its keywords, stemmed, each a run of words."""

    name: str
    wire: Mapping[str, Any]
    parameters: frozenset[str]
    name_stems: frozenset[str]
    phrases: frozenset[Phrase]
    description_stems: frozenset[str]
    text: str = field(compare=False)  # what is embedded

    @staticmethod
    def of(wire: Mapping[str, Any]) -> Descriptor:
        """Raises ValueError when it is no tool: no name, or a schema that is no object."""
        name, schema = wire.get("name"), wire.get("inputSchema")
        if not isinstance(name, str) or not name or not isinstance(schema, Mapping):
            raise ValueError("a tool without a name or an input schema")
        properties = schema.get("properties")
        title, description = _text(wire.get("title")), _text(wire.get("description"))
        phrases = {stems(keyword) for keyword in _keywords(wire.get("_meta"))}
        return Descriptor(
            name=name,
            wire=wire,
            parameters=frozenset(properties if isinstance(properties, Mapping) else ()),
            name_stems=frozenset(stems(name)),
            phrases=frozenset(phrase for phrase in phrases if phrase),
            description_stems=frozenset(stems(f"{title} {description}")),
            text=f"{title}: {description}" if title else description or name,
        )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _keywords(meta: Any) -> Sequence[str]:
    """Of all languages. What has another shape counts for nothing."""
    by_language = meta.get(KEYWORDS) if isinstance(meta, Mapping) else None
    if not isinstance(by_language, Mapping):
        return ()
    return [
        word for words in by_language.values() if isinstance(words, Sequence) for word in words if isinstance(word, str)
    ]
