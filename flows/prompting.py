"""What the models are told beside what the user says: system prompts by model and language, from files; results of
tools, for models that read them as plain words. A team's own files go before ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from flows.tools.calls import Call, Outcome
from flows.turn import Locale

OURS = Path(__file__).parent / "prompts"
DEFAULT = "default"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")

_SPANISH_SIGNS = re.compile(r"[¿¡ñ]|[áéíóú]", re.IGNORECASE)
_WORDS = re.compile(r"[a-záéíóúñü]+", re.IGNORECASE)


def _words(language: Locale) -> frozenset[str]:
    return frozenset((OURS / f"words.{language}.txt").read_text(encoding="utf-8").split())


_SPANISH, _ENGLISH = _words("es"), _words("en")


def language_of(text: str) -> Locale:
    """Spanish or English, by the text's own words; English where nothing tells."""
    words = [word.lower() for word in _WORDS.findall(text[:2000])]
    spanish = sum(word in _SPANISH for word in words) + len(_SPANISH_SIGNS.findall(text[:2000]))
    return "es" if spanish > sum(word in _ENGLISH for word in words) else "en"


@dataclass(slots=True)
class PromptFolder:
    """Files `system/MODEL.LANGUAGE.md`, `system/default.LANGUAGE.md`; an empty file means no system prompt. Read once
    each; own: a team's folder, looked into first."""

    own: Path | None = None
    _read: dict[tuple[str, Locale], str] = field(default_factory=dict)

    def system(self, model: str, locale: Locale) -> str:
        key = (model, locale)
        if key not in self._read:
            self._read[key] = self._find(model, locale)
        return self._read[key]

    def task(self, name: str, locale: Locale) -> str:
        """What a model is asked for by a flow of ours: `tasks/NAME.LANGUAGE.md`."""
        return self._first(f"tasks/{name}.{locale}.md")

    def _find(self, model: str, locale: Locale) -> str:
        names = [model, DEFAULT] if _NAME.match(model) else [DEFAULT]
        return self._first(*(f"system/{name}.{locale}.md" for name in names))

    def _first(self, *names: str) -> str:
        """The first of these files that there is: a team's own, whatever its name, before ours."""
        for folder in (self.own, OURS):
            for name in names:
                file = folder / name if folder is not None else None
                if file is not None and file.is_file():
                    return file.read_text(encoding="utf-8").strip()
        return ""


_RESULT = {
    "en": "The result of {name}({arguments}) is:\n{text}\n\nAnswer in one short sentence with this result.",
    "es": "El resultado de {name}({arguments}) es:\n{text}\n\nResponde en una frase corta con este resultado.",
}
_FAILED = {
    "en": "{name}({arguments}) failed: {text}\n\nAnswer without it, and say that it failed.",
    "es": "{name}({arguments}) ha fallado: {text}\n\nResponde sin ella y di que ha fallado.",
}


def with_results(question: str, result: tuple[Call, Outcome], locale: Locale) -> str:
    """The question and what came of a call, as one message: small models know no role for a tool's words."""
    call, outcome = result
    words = (_FAILED if outcome.failed else _RESULT)[locale]
    arguments = ", ".join(str(value) for value in (call.arguments or {}).values())
    return f"{question}\n\n" + words.format(name=call.name, arguments=arguments[:500], text=outcome.text)
