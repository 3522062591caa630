"""The team's documents in front of a question that needs them, for older clients (`POST /analyze`). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from services_node.smart_mcp.patterns import any_of
from services_node.smart_mcp.question import Question
from services_node.smart_mcp.selection import looked_at
from services_node.smart_mcp.signals import SURE, signals
from services_node.smart_mcp.words import folded, stems

Language = Literal["es", "en"]

_WEEKDAYS = {
    "es": ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo"),
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
}
_MONTHS = {
    "es": ("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre", "octubre",
           "noviembre", "diciembre"),
    "en": ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December"),
}  # fmt: skip
_VERIFIED = {"es": "DATOS VERIFICADOS", "en": "VERIFIED FACTS"}
_DATE = {"es": "FECHA ACTUAL", "en": "CURRENT DATE"}
_SUM = {"es": "CÁLCULO", "en": "CALCULATION"}
_QUESTION = {"es": "Pregunta", "en": "Question"}

_identity = any_of(
    r"\b(?:quien|que) eres\b", r"\bcomo te llamas\b", r"\btu (?:nombre|identidad)\b",
    r"\bcapibara ?6\b", r"\banachroni\b",
    r"\bquien (?:te|os) (?:creo|hizo|desarrollo)\b", r"\b(?:la|vuestra|tu) empresa\b", r"\b(?:your|the) company\b",
    r"\bwho (?:are you|made you|created you|built you)\b", r"\bwhat(?:'s| is) your name\b", r"\bwho is behind\b",
)  # fmt: skip
_technical = any_of(
    r"\bespecificaciones\b", r"\bhardware\b", r"\bque modelos? (?:usas|utilizas|eres)\b", r"\bspecs?\b",
    r"\bsobre que (?:servidor|maquina)\b", r"\bspecifications\b", r"\bwhat models? (?:do you use|are you)\b",
    r"\bwhat (?:server|machine|hardware)\b",
)  # fmt: skip
# Words of a context's id or name by which it is known as the one for such questions.
_ABOUT_US = frozenset(stems("company empresa about identidad identity info información quiénes"))
_ABOUT_MACHINE = frozenset(stems("technical técnico specs especificaciones hardware arquitectura architecture"))
_DATED = frozenset(stems("date fecha datetime"))
# A run of numbers and what joins them. Nothing is tried twice: no start within a run, no part of one given back.
_RUN = re.compile(r"(?<![-(])[-(]*+\d[\d.,\s()]*+(?P<joined>(?:[-+*/×÷^%][-\s(]*+\d[\d.,\s()]*+)*+)")


@dataclass(frozen=True, slots=True)
class ContextDocument:
    id: str
    name: str
    text: str
    name_stems: frozenset[str]

    @staticmethod
    def of(entry: Mapping[str, Any], whole: Mapping[str, Any], chars: int) -> ContextDocument:
        """entry: of 5003's list; whole: the document, with a text or its fields in `content` (or `data`)."""
        data = next((whole[key] for key in ("content", "data") if key in whole), "")
        name = str(entry.get("name") or entry["id"])
        names = frozenset(stems(f"{entry['id']} {name}"))
        return ContextDocument(str(entry["id"]), name, told(data)[:chars], names)


def told(data: Any) -> str:
    """Fields as lines, a text as it is."""
    if isinstance(data, Mapping):
        return "\n".join(f"{name}: {told(value)}" for name, value in data.items())
    if isinstance(data, Sequence) and not isinstance(data, str):
        return ", ".join(told(value) for value in data)
    return str(data).strip()


@dataclass(frozen=True, slots=True)
class Needs:
    """documents: in front of the question. date: whether today's date is. expression: to be reckoned, or None."""

    language: Language
    documents: tuple[ContextDocument, ...]
    date: bool
    expression: str | None


def needs(query: str, documents: Sequence[ContextDocument], most: int = 3) -> Needs:
    """What a question needs to be told, nothing for most questions."""
    text = folded(looked_at(query))
    shown = signals(Question.of(text))
    words = frozenset(stems(text))
    wanted: frozenset[str] = frozenset()
    if _identity(text):
        wanted |= _ABOUT_US
    if _technical(text):
        wanted |= _ABOUT_MACHINE
    chosen = [
        document
        for document in documents
        if not document.name_stems & _DATED
        and document.text
        and (document.name_stems & wanted or len(document.name_stems & words) >= 2)
    ]
    expression = expression_in(looked_at(query)) if shown.get("arithmetic") == SURE else None
    return Needs(
        language=language_of(text),
        documents=tuple(chosen[:most]),
        date=shown.get("clock") == SURE,
        expression=expression,
    )


def expression_in(text: str) -> str | None:
    """The first run of numbers that something joins, as it stands there."""
    return next((run[0].strip() for run in _RUN.finditer(text) if run["joined"]), None)


def augmented(query: str, needed: Needs, now: datetime, result: str | None) -> tuple[str, int]:
    """The question with what it needs in front, and how many pieces that is. result: of the expression, if there is."""
    language = needed.language
    pieces = [f"[{_VERIFIED[language]}: {document.name}]\n{document.text}" for document in needed.documents]
    if needed.date:
        pieces.append(f"[{_DATE[language]}]\n{date_told(now, language)}")
    if needed.expression is not None and result is not None:
        pieces.append(f"[{_SUM[language]}]\n{needed.expression} = {result}")
    if not pieces:
        return query, 0
    return "\n\n".join([*pieces, f"{_QUESTION[language]}: {query}"]), len(pieces)


def date_told(now: datetime, language: Language) -> str:
    weekday, month = _WEEKDAYS[language][now.weekday()], _MONTHS[language][now.month - 1]
    zone = now.strftime("%Z")
    if language == "es":
        return f"Hoy es {weekday}, {now.day} de {month} de {now.year}; son las {now:%H:%M} ({zone})."
    return f"Today is {weekday}, {now.day} {month} {now.year}; the time is {now:%H:%M} ({zone})."


_SPANISH = re.compile(
    r"\b(?:el|los?|las?|que|de|en|es|una?|por|para|con|como|cual|cuando|donde|quien|hoy|mi|tu|se|son|dime)\b"
)
_ENGLISH = re.compile(
    r"\b(?:the|is|are|what|how|who|when|where|which|of|in|to|and|for|with|my|your|do|does|an?|it|today|me|tell)\b"
)


def language_of(text: str) -> Language:
    """Spanish unless the common words are English: the team's first language. text: folded."""
    spanish, english = len(_SPANISH.findall(text)), len(_ENGLISH.findall(text))
    return "en" if english > spanish and "¿" not in text else "es"
