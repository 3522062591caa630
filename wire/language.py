"""Spanish or English: told from a text's own words, the same wherever it is asked. Pure.

The words stand in `languages/`, with and without their accents, as people type them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

Language = Literal["es", "en"]

LOOKED_AT_CHARS = 2000
_SPANISH_SIGNS = re.compile(r"[¿¡ñ]|[áéíóú]", re.IGNORECASE)
_WORD = re.compile(r"[a-záéíóúñü]+", re.IGNORECASE)


def _words(language: Language) -> frozenset[str]:
    file = Path(__file__).parent / "languages" / f"{language}.txt"
    return frozenset(file.read_text(encoding="utf-8").split())


_SPANISH, _ENGLISH = _words("es"), _words("en")


def language_of(text: str, otherwise: Language = "en") -> Language:
    """The language of the beginning of a text; `otherwise` where nothing tells, or both do."""
    text = text[:LOOKED_AT_CHARS]
    words = [word.lower() for word in _WORD.findall(text)]
    spanish = sum(word in _SPANISH for word in words) + len(_SPANISH_SIGNS.findall(text))
    english = sum(word in _ENGLISH for word in words)
    if spanish == english:
        return otherwise
    return "es" if spanish > english else "en"
