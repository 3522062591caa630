"""Prompts to start from, in Spanish and English: what they say stands in `NAME.es.md` and `NAME.en.md` beside this.

`{text}`-like words in a file are replaced by what the client gives; anything else in braces stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from services_node.mcp_server.registry import Registry

registry = Registry()

FOLDER = Path(__file__).resolve().parent
MAX_TEXT_CHARS = 200_000
Language = Literal["es", "en"]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS, description="The text · El texto")]
InLanguage = Annotated[Language, Field(description="Language of the instructions · Idioma de las instrucciones")]


@registry.prompt(title="Summarise · Resumir")
def summarise(
    text: Text,
    language: InLanguage = "es",
    length: Annotated[
        Literal["short", "medium", "long"], Field(description="How long the summary is · Longitud del resumen")
    ] = "short",
) -> str:
    """A faithful summary of a text. Un resumen fiel de un texto."""
    lengths = {
        "es": {
            "short": "tres frases como mucho",
            "medium": "un párrafo",
            "long": "una página como mucho, con apartados",
        },
        "en": {"short": "three sentences at most", "medium": "one paragraph", "long": "a page at most, with headings"},
    }
    return filled("summarise", language, {"text": text, "length": lengths[language][length]})


@registry.prompt(title="Translate · Traducir")
def translate(
    text: Text,
    target: Annotated[
        str, Field(min_length=1, max_length=60, description="Language to translate into · Idioma de destino")
    ] = "English",
    language: InLanguage = "es",
) -> str:
    """A translation that keeps sense, tone and layout. Una traducción que conserva sentido, tono y formato."""
    return filled("translate", language, {"text": text, "target": target})


@registry.prompt(title="Review code · Revisar código")
def review_code(
    code: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARS, description="The code · El código")],
    language: InLanguage = "es",
    focus: Annotated[
        str, Field(max_length=300, description="What matters most, if anything · Lo que más importa, si algo")
    ] = "",
) -> str:
    """A review of code: faults first, each with its place and a mend. Una revisión: primero los fallos."""
    wishes = {"es": f"Lo que más importa: {focus}", "en": f"What matters most: {focus}"}
    return filled("review_code", language, {"code": code, "focus": wishes[language] if focus.strip() else ""})


def filled(name: str, language: Language, values: Mapping[str, str]) -> str:
    """A prompt's text with its words in place; what is put in is never looked at again."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template(name, language)).strip()


@lru_cache(maxsize=32)
def template(name: str, language: Language) -> str:
    return (FOLDER / f"{name}.{language}.md").read_text(encoding="utf-8")
