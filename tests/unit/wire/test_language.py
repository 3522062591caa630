"""Spanish and English."""

from __future__ import annotations

import pytest

from wire.dates import MONTHS, WEEKDAYS
from wire.language import language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("¿Cuánto es 17 por 23?", "es"),
        ("Cuanto es el 15% de 240", "es"),
        ("dame un resumen de la reunion", "es"),
        ("dime la hora in London", "es"),
        ("que dia es hoy", "es"),
        ("quien eres", "es"),
        ("What is 17 times 23?", "en"),
        ("What time is it in Málaga?", "en"),
        ("summarize the meeting for me", "en"),
        ("Hola", "es"),
    ],
)
def test_spanish_and_english_are_told_apart_by_their_words(text: str, language: str) -> None:
    assert language_of(text) == language_of(text, "es") == language


@pytest.mark.parametrize("text", ["17*23", "", "de the"])
def test_where_nothing_tells_the_one_who_asks_says_which(text: str) -> None:
    assert (language_of(text), language_of(text, "es")) == ("en", "es")


def test_days_and_months_have_names_in_both() -> None:
    assert {len(names) for names in WEEKDAYS.values()} == {7} and {len(names) for names in MONTHS.values()} == {12}
    assert (WEEKDAYS["es"][0], MONTHS["en"][11]) == ("lunes", "December")
