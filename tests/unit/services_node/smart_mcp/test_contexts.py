"""What older clients' questions get in front: the team's documents, today's date, a sum; most get nothing."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from services_node.smart_mcp.contexts import ContextDocument, augmented, date_told, expression_in, needs

DOCUMENTS = [
    ContextDocument.of({"id": id_, "name": name, "keywords": keywords}, {"content": text}, 1_000)
    for id_, name, text, keywords in (
        ("company_info", "Información de la Empresa", "Anachroni s.coop", ["quién eres", "who made you", "capibara6"]),
        ("technical_specs", "Especificaciones Técnicas", "Axion", ["hardware"]),
        ("current_date", "Fecha y Hora Actual", "2025-10-09", ["qué día", "hoy"]),
        ("holiday_rules", "Normas de vacaciones", "22 días", []),
        ("boats", "Barcos", "Dos", ["el remolcador"]),
    )
]
NOW = datetime(2026, 11, 5, 9, 7, tzinfo=ZoneInfo("Europe/Madrid"))


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("¿Quién eres?", ["company_info"]),
        ("Who made you?", ["company_info"]),
        ("¿En qué hardware funciona Capibara6?", ["company_info", "technical_specs"]),
        ("¿Cuáles son las normas de vacaciones?", ["holiday_rules"]),
        ("¿Dónde amarra el remolcador?", ["boats"]),
        ("¿Quién escribió el Quijote?", []),
        ("¿Qué día es hoy?", []),
        ("hola", []),
    ],
)
def test_documents_by_what_is_asked(query: str, ids: list[str]) -> None:
    assert [document.id for document in needs(query, DOCUMENTS).documents] == ids


def test_the_date_comes_from_the_clock_in_the_questions_language() -> None:
    spanish, english = needs("¿Qué día es hoy?", DOCUMENTS), needs("What day is it today?", DOCUMENTS)
    assert (spanish.language, english.language, spanish.date, english.date) == ("es", "en", True, True)
    assert date_told(NOW, "es") == "Hoy es jueves, 5 de noviembre de 2026; son las 09:07 (CET)."
    assert date_told(NOW, "en") == "Today is Thursday, 5 November 2026; the time is 09:07 (CET)."
    prompt, added = augmented("¿Qué día es hoy?", spanish, NOW, None)
    assert added == 1 and "2026" in prompt and "2025" not in prompt and prompt.endswith("Pregunta: ¿Qué día es hoy?")


def test_a_sum_is_told_only_when_it_was_reckoned() -> None:
    needed = needs("¿Cuánto es 12 * (45 - 7)?", DOCUMENTS)
    assert needed.expression == "12 * (45 - 7)"
    assert augmented("x", needed, NOW, "456") == ("[CÁLCULO]\n12 * (45 - 7) = 456\n\nPregunta: x", 1)
    assert augmented("x", needed, NOW, None) == ("x", 0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("cuanto es (2 + 3) * 4?", "(2 + 3) * 4"), ("en 2024, 17×23 de algo", "2024, 17×23"),
        ("de -(2+3) x 4", "-(2+3)"),
        ("1 2 3", None), ("2 - 3x", "2 - 3"), ("2 - x, 4/5", "4/5"), ("", None),
    ],
)  # fmt: skip
def test_an_expression_is_the_first_run_of_numbers_that_something_joins(text: str, found: str | None) -> None:
    assert expression_in(text) == found


@pytest.mark.parametrize("piece", ["1", "1 ", "(", "-", "1(", "- (", "1,", ". 1"])
def test_a_long_run_of_signs_is_looked_through_once(piece: str) -> None:
    assert expression_in(piece * (1_000_000 // len(piece)) + "x 2+3") == "2+3"


def test_a_sum_is_looked_for_where_the_rest_is() -> None:
    assert needs("calcula " + "bla " * 2000 + "2+3" + " bla" * 2000, []).expression is None


def test_fields_are_told_as_lines_and_cut() -> None:
    fields = {"name": "Capibara6", "models": ["a", "b"], "inner": {"k": 1}}
    document = ContextDocument.of({"id": "i"}, {"data": fields}, 30)
    assert document.text == "name: Capibara6\nmodels: a, b\ninner: k: 1"[:30]


def test_language_is_spanish_unless_the_words_are_english() -> None:
    texts = {"¿Qué hora es?": "es", "What time is it?": "en", "12*3": "es", "dime la hora in London": "es"}
    assert {text: needs(text, DOCUMENTS).language for text in texts} == texts
