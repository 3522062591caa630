"""What `routes eval` says of the router's work: shares, confusion, calibration."""

from __future__ import annotations

import pytest

from models_node.routing.decide import Decider
from models_node.routing.evaluation import Outcome, calibration_error, lines, outcomes, report
from models_node.routing.meaning import Meaning
from models_node.routing.texts import Labelled
from tests.unit.models_node.routing.stand_ins import FIVE, RULES, SaidLanguage, WordEncoder, word_head


def labelled(text: str, label: str, language: str = "es", *before: str) -> Labelled:
    return Labelled(text, before, label, language, "plain", "a")


def outcome(label: str, chosen: str, confidence: float | None) -> Outcome:
    return Outcome(labelled("x", label), chosen, chosen, confidence, "meaning")


def test_texts_are_judged_by_the_model_that_would_answer() -> None:
    texts = [
        labelled("coding", "coding", "en"),
        labelled("technical", "analysis"),
        labelled("fr: bonjour", "multilingual", "fr"),
        labelled("and red", "coding", "en", "coding coding"),
        labelled("hm", "general"),
    ]
    decider, meaning = Decider(FIVE, RULES, SaidLanguage()), Meaning(WordEncoder(), word_head())
    domains = {entry.id: entry.domain for entry in FIVE.models}
    result = report(outcomes(texts, lambda query: decider.decide(query, {}, meaning), domains))
    assert (result.texts, result.accuracy) == (5, 0.8)
    assert result.by_language == {"en": 1, "es": 0.5, "other": 1}
    assert result.confusion["analysis"]["technical"] == 1
    assert result.reasons["language"] == 1
    assert result.abstained == 0.2
    assert any("80.0%" in line for line in lines(result))


def test_confidence_that_keeps_its_word_has_no_calibration_error() -> None:
    kept = [outcome("coding", "coding", 0.75)] * 3 + [outcome("coding", "general", 0.75)]
    assert calibration_error(kept) == pytest.approx(0)


def test_too_much_confidence_is_an_error_by_as_much() -> None:
    assert calibration_error([outcome("coding", "general", 0.9)] * 2) == pytest.approx(0.9)


def test_routes_without_a_confidence_do_not_count_for_calibration() -> None:
    assert calibration_error([outcome("coding", "general", None)]) == 0
