"""What the speech benchmark has said. Pure but for its file."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stack.settings import REPOSITORY

LANGUAGES = ("es", "en")
SENTENCES = REPOSITORY / "bench" / "data" / "speech.toml"

NAMES = {
    "es": ("Ana", "Luis", "Marta", "Pedro", "Lucía", "Jorge", "Elena", "Pablo", "Sara", "Diego"),
    "en": ("Anna", "John", "Mary", "Peter", "Lucy", "George", "Helen", "Paul", "Sarah", "James"),
}
# Of fifteen words: without a clause at the beginning, and with one.
WHOLE = {
    "es": "{} explicó ayer al equipo de soporte cómo instalar la nueva versión en cada ordenador.",
    "en": "{} explained to the support team how to install the new version on every computer.",
}
CLAUSE = {
    "es": "Buenos días, {}, la reunión de hoy empieza a las nueve en la sala grande.",
    "en": "Good morning, {}, the meeting of today starts at nine in the big room downstairs.",
}


@dataclass(frozen=True, slots=True)
class Said:
    """written: what is asked for. spoken: what must be heard."""

    language: str
    written: str
    spoken: str


def sentences(limit: int | None = None) -> list[Said]:
    """Of both languages; at most so many of each. The last third of each has numbers, dates and abbreviations."""
    found = tomllib.loads(SENTENCES.read_text(encoding="utf-8"))
    return [
        Said(language, row["written"], row.get("spoken", row["written"]))
        for language in LANGUAGES
        for row in (found[language] if limit is None else found[language][-limit:])
    ]


def of_fifteen_words(*, clause: bool) -> Iterator[Said]:
    """In both languages in turn, none twice: no cache has heard them."""
    for spanish, english in itertools.zip_longest(NAMES["es"], NAMES["en"]):
        for language, name in (("es", spanish), ("en", english)):
            text = (CLAUSE if clause else WHOLE)[language].format(name)
            yield Said(language, text, text)


GREETING = {
    "es": "Hola, {}, esto es lo que hay para la reunión número {}.",
    "en": "Hello, {}, this is what we have for meeting number {}.",
}


def long_text(said: Sequence[Said], listener: int) -> str:
    """A greeting of this listener's own, and six sentences of the same language, from another place for each."""
    language = said[0].language
    begin = 7 * listener % max(1, len(said) - 6)
    name = NAMES[language][listener % len(NAMES[language])]
    return " ".join([GREETING[language].format(name, listener), *(each.written for each in said[begin : begin + 6])])
