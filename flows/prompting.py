"""What the models are told beside what the user says: system prompts by model and language, from files; results of
tools, for models that read them as plain words. A team's own files go before ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.tools.calls import Call, Outcome
from flows.turn import Locale

OURS = Path(__file__).parent / "prompts"
DEFAULT, SMALL = "default", "small"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")


@dataclass(slots=True)
class PromptFolder:
    """Files `system/MODEL.LANGUAGE.md`, else `system/default.LANGUAGE.md`; for small models, which lose their way in
    instructions, `system/small.LANGUAGE.md` (ours are empty: no system prompt). Read once each. own: a team's folder,
    looked into first, by the model's name for small ones too.
    """

    own: Path | None = None
    _read: dict[tuple[str, Locale, bool], str] = field(default_factory=dict)

    def system(self, model: str, locale: Locale, *, small: bool) -> str:
        key = (model, locale, small)
        if key not in self._read:
            named = [model] if _NAME.match(model) else []
            theirs = [*named, SMALL if small else DEFAULT]
            ours = [SMALL] if small else [*named, DEFAULT]
            found = _first(self.own, "system", theirs, locale)
            self._read[key] = (_first(OURS, "system", ours, locale) if found is None else found) or ""
        return self._read[key]

    def task(self, name: str, locale: Locale) -> str:
        """What a model is asked for by a flow of ours: `tasks/NAME.LANGUAGE.md`."""
        found = _first(self.own, "tasks", [name], locale)
        return (_first(OURS, "tasks", [name], locale) if found is None else found) or ""


def _first(folder: Path | None, kind: str, names: Sequence[str], locale: Locale) -> str | None:
    """The text of the first of these files that there is."""
    for name in names if folder is not None else ():
        file = folder / kind / f"{name}.{locale}.md" if folder is not None else None
        if file is not None and file.is_file():
            return file.read_text(encoding="utf-8").strip()
    return None


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
