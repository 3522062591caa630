"""Which documents a question needs."""

from __future__ import annotations

from dataclasses import dataclass

from wire.keywords import CHOSEN, fitting


@dataclass(frozen=True)
class Document:
    id: str
    name: str = ""
    keywords: tuple[str, ...] = ()


def found(question: str, *documents: Document) -> list[str]:
    return [document.id for document in fitting(question, documents)]


def test_a_document_is_found_by_its_keywords_whole_and_without_accents() -> None:
    boats = Document("boats", keywords=("remolcador", "qué barcos"))
    assert found("¿Y el REMOLCADOR?", boats) == found("que barcos hay", boats) == ["boats"]
    assert found("los remolcadores", boats) == found("barcos", boats) == found("", boats) == []


def test_two_words_of_its_name_find_it_and_one_does_not() -> None:
    rules = Document("holiday_rules", "Normas de vacaciones")
    assert found("las normas de vacaciones", rules) == ["holiday_rules"] and found("vacaciones de verano", rules) == []


def test_the_best_come_first_and_not_all_of_them() -> None:
    many = [Document(f"d{number}", keywords=("a1",)) for number in range(9, 0, -1)]
    best = Document("z", keywords=("a1", "b1"))
    assert found("a1 b1", *many, best) == ["z", "d1", "d2"] and CHOSEN == 3
