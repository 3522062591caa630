"""The team's documents in front of a question that needs them, for older clients (`POST /analyze`). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services_node.smart_mcp.question import Question
from services_node.smart_mcp.selection import looked_at
from services_node.smart_mcp.signals import SURE, signals
from services_node.smart_mcp.words import folded
from wire.dates import MONTHS, WEEKDAYS
from wire.keywords import fitting
from wire.language import Language, language_of

_VERIFIED = {"es": "DATOS VERIFICADOS", "en": "VERIFIED FACTS"}
_DATE = {"es": "FECHA ACTUAL", "en": "CURRENT DATE"}
_SUM = {"es": "CÁLCULO", "en": "CALCULATION"}
_QUESTION = {"es": "Pregunta", "en": "Question"}

CURRENT_DATE = "current_date"  # 5003's; here the date is told in the question's language
MOST_KEYWORDS = 200
# A run of numbers and what joins them. Nothing is tried twice: no start within a run, no part of one given back.
_RUN = re.compile(r"(?<![-(])[-(]*+\d[\d.,\s()]*+(?P<joined>(?:[-+*/×÷^%][-\s(]*+\d[\d.,\s()]*+)*+)")


@dataclass(frozen=True, slots=True)
class ContextDocument:
    """keywords: words and phrases of a question that needs it."""

    id: str
    name: str
    text: str
    keywords: tuple[str, ...] = ()

    @staticmethod
    def of(entry: Mapping[str, Any], whole: Mapping[str, Any], chars: int) -> ContextDocument:
        """entry: of 5003's list; whole: the document, with a text or its fields in `content` (or `data`)."""
        data = next((whole[key] for key in ("content", "data") if key in whole), "")
        name = str(entry.get("name") or entry["id"])
        keywords = tuple(str(one) for one in entry.get("keywords") or ())[:MOST_KEYWORDS]
        return ContextDocument(str(entry["id"]), name, told(data)[:chars], keywords)


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


def needs(query: str, documents: Sequence[ContextDocument]) -> Needs:
    """What a question needs to be told, nothing for most questions. Documents: those that 5003 would choose."""
    text = looked_at(query)
    shown = signals(Question.of(folded(text)))
    told_here = [document for document in documents if document.text and document.id != CURRENT_DATE]
    expression = expression_in(looked_at(query)) if shown.get("arithmetic") == SURE else None
    return Needs(
        language=language_of(query, "es"),  # the team's first language
        documents=tuple(fitting(text, told_here)),
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
    weekday, month = WEEKDAYS[language][now.weekday()], MONTHS[language][now.month - 1]
    zone = now.strftime("%Z")
    if language == "es":
        return f"Hoy es {weekday}, {now.day} de {month} de {now.year}; son las {now:%H:%M} ({zone})."
    return f"Today is {weekday}, {now.day} {month} {now.year}; the time is {now:%H:%M} ({zone})."
