"""Reading a turn: alone, or with the one before when it leans on it; features of known texts are kept."""

from __future__ import annotations

import pytest

from models_node.routing.meaning import CONTEXT_CHARS, KEPT_TEXTS, Meaning, in_context
from tests.unit.models_node.routing.stand_ins import WordEncoder, word_head


def test_a_turn_that_stands_alone_is_read_alone() -> None:
    encoder = WordEncoder()
    reading = Meaning(encoder, word_head()).read(("coding", "technical"))
    assert reading.leaning < 0.01
    assert encoder.texts == ["technical"]


def test_a_turn_that_leans_is_read_with_the_one_before() -> None:
    encoder = WordEncoder()
    reading = Meaning(encoder, word_head()).read(("coding coding", "and red"))
    assert reading.leaning > 0.99
    assert encoder.texts == ["and red", "coding coding\nand red"]
    assert reading.probabilities.argmax() == 2


def test_a_first_turn_leans_on_nothing() -> None:
    assert Meaning(WordEncoder(), word_head()).read(("and",)).leaning == 0


def test_probabilities_add_up_to_one() -> None:
    assert Meaning(WordEncoder(), word_head()).read(("coding", "and")).probabilities.sum() == pytest.approx(1)


def test_a_text_is_encoded_once_while_it_is_kept() -> None:
    encoder = WordEncoder()
    meaning = Meaning(encoder, word_head())
    for _ in range(3):
        meaning.read(("coding",))
    assert encoder.texts == ["coding"]
    for number in range(KEPT_TEXTS):
        meaning.read((f"other {number}",))
    meaning.read(("coding",))
    assert encoder.texts.count("coding") == 2


def test_only_the_end_of_the_turn_before_is_looked_at() -> None:
    assert in_context(("x" * 1000, "y")) == "x" * CONTEXT_CHARS + "\ny"
    assert in_context(("y",)) == "y"
