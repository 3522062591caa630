"""Which documents a question needs, by words: the same for whoever puts them in front of it. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

CHOSEN = 3  # documents a question is given at most
NEEDED = 1.0  # what a document must score
_WORD = re.compile(r"\w+")
# Without accents. Words of a question that stand in any text choose nothing.
_COMMON = frozenset(
    "a al and are as at be by can como con cual cuales cuando de del do does donde el ella en es esta este for from ha "  # noqa: SIM905
    "hay how i in is it la las lo los me mi my no o of on or para pero por que quien quienes se si sin sobre su sus te "
    "tell the this to tu un una us usa use what when where which who why with y you your".split()
)


class Document(Protocol):
    """keywords: words and phrases of a question that needs it, in any language, as written."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def keywords(self) -> Sequence[str]: ...


D = TypeVar("D", bound=Document)


def fitting(question: str, documents: Iterable[D]) -> list[D]:
    """The documents that a question needs, the best first; none for small talk."""
    words = _words(question)
    scored = [(_score(words, f" {' '.join(words)} ", document), document) for document in documents]
    needed = [pair for pair in scored if pair[0] >= NEEDED]
    return [document for _, document in sorted(needed, key=lambda pair: (-pair[0], pair[1].id))[:CHOSEN]]


def _score(words: Sequence[str], spaced: str, document: Document) -> float:
    """One for each keyword that stands in the question, a little for words of the document's name."""
    points = float(sum(f" {' '.join(_words(keyword))} " in spaced for keyword in set(document.keywords)))
    named = {word for word in _words(f"{document.id} {document.name}") if word not in _COMMON and len(word) > 2}
    return points + 0.5 * len(named.intersection(words))


def _words(text: str) -> list[str]:
    plain = "".join(sign for sign in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(sign))
    return _WORD.findall(plain.replace("_", " "))
