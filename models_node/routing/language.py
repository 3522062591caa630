"""Which language a text is in, and whether that is clearly neither Spanish nor English.

The identifier is Nito-ELD (`eld`, Apache-2.0): n-grams of 60 languages, its data inside the package, about 0.1 ms a
text. Short texts, code and near languages (Galician, Catalan, Portuguese beside Spanish) are where identifiers err;
so a text counts as foreign only when the identifier calls itself reliable and its language leads both of ours by a
margin. What is not clear is left to the meaning, which has learned other languages too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

OURS = frozenset({"es", "en"})
# Enough for certainty; the time grows with the length.
LOOKED_AT_CHARS = 400
# Code and markup are no language: fenced blocks, inline code, URLs, tags, names with dots or underscores, numbers.
NO_LANGUAGE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|<[^>\n]*>|\S*[_{}()=;/\\<>@#$\[\]]\S*|\b\w+\.\w[\w.]*|\d+", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Language:
    """code: ISO 639-1, None when nothing is known. lead: by how much its score (0 to 1) exceeds the better one of
    Spanish and English; 0 for these. reliable: the identifier's own judgement."""

    code: str | None
    lead: float = 0.0
    reliable: bool = False

    def is_foreign(self, least_lead: float) -> bool:
        """Whether the text is clearly in a language other than ours."""
        return self.code is not None and self.code not in OURS and self.reliable and self.lead >= least_lead


class LanguageIdentifier(Protocol):
    def identify(self, text: str) -> Language: ...


class EldIdentifier:
    """Loads its n-grams (some 60 MB of memory) when made. Raises ImportError where the package is missing."""

    def __init__(self) -> None:
        from eld import LanguageDetector

        self._detector = LanguageDetector()

    def identify(self, text: str) -> Language:
        found = self._detector.detect(prose(text)[:LOOKED_AT_CHARS])
        code = found.language
        if not code:
            return Language(None)
        scores: dict[str, float] = found.scores() or {}
        ours = max(scores.get(language, 0.0) for language in OURS)
        lead = 0.0 if code in OURS else scores.get(code, 0.0) - ours
        return Language(code, lead, bool(found.is_reliable()))


class NoIdentifier:
    """Where the package is missing: nothing is known of any text."""

    def identify(self, text: str) -> Language:
        return Language(None)


def prose(text: str) -> str:
    """The text without what looks like code, so that the rest decides."""
    return " ".join(NO_LANGUAGE.sub(" ", text).split())
