"""Training: near twins once, calibrated on writers held out, the same twice."""

from __future__ import annotations

import numpy as np
import pytest

from models_node.errors import RoutingTextsError
from models_node.routing.head import LABELS
from models_node.routing.texts import Labelled
from models_node.routing.training import best_temperature, best_threshold, distinct, plainly, train
from tests.unit.models_node.routing.stand_ins import UnlikeEncoder


def texts(*writers: str) -> list[Labelled]:
    more = ("", "and ")
    return [
        Labelled(f"{lead}{label} {writer} " + f"{label} " * count, before, label, "en", "plain", writer)
        for writer in writers
        for label in LABELS
        for count in range(4)
        for lead, before in ((more[0], ()), (more[1], ("general",)))
    ]


def test_each_writer_is_held_out_once() -> None:
    trained = train(texts("a", "b"), UnlikeEncoder())
    assert set(trained.held_out) == {"a", "b"}
    assert min(trained.held_out.values()) > 0.5


def test_one_writers_texts_are_held_out_in_parts() -> None:
    assert set(train(texts("a"), UnlikeEncoder()).held_out) == {f"fold {number}" for number in range(1, 6)}


def test_training_twice_gives_the_same_head() -> None:
    one, two = (train(texts("a", "b"), UnlikeEncoder()).head for _ in range(2))
    assert np.array_equal(one.weights, two.weights)
    assert (one.temperature, one.abstain_below, one.provenance) == (two.temperature, two.abstain_below, two.provenance)


def test_it_learns_which_texts_lean_on_what_came_before() -> None:
    head, encoder = train(texts("a", "b"), UnlikeEncoder()).head, UnlikeEncoder()
    assert head.leaning(encoder.features("and coding coding")) > head.leaning(encoder.features("coding coding"))


def test_texts_without_conversations_lean_on_nothing() -> None:
    alone = [text for text in texts("a", "b") if not text.before]
    assert train(alone, UnlikeEncoder()).head.leaning(UnlikeEncoder().features("and")) < 1e-6


def test_a_label_with_too_few_texts_is_named() -> None:
    with pytest.raises(RoutingTextsError, match=r"coding \(0\)"):
        train([text for text in texts("a") if text.label != "coding"], UnlikeEncoder())
    repeated = [Labelled(label, (), label, "en", "plain", "a") for label in LABELS for _ in range(9)]
    with pytest.raises(RoutingTextsError, match="different"):
        train(repeated, UnlikeEncoder())


def test_near_twins_of_one_label_count_once() -> None:
    features = np.array([[1, 0], [1, 0.01], [0, 1], [1, 0]], dtype=np.float32)
    assert distinct(features, np.array([0, 0, 0, 1])) == [0, 2, 3]


def test_too_sure_a_head_gets_a_higher_temperature() -> None:
    sure = np.tile(np.array([[0.98, 0.005, 0.005, 0.005, 0.005]], dtype=np.float32), (10, 1))
    assert best_temperature(sure, np.array([0] * 6 + [1] * 4)) > 1


def test_abstention_is_only_for_what_is_better_left_to_the_general_model() -> None:
    guesses = np.array([[0.2, 0.45, 0.15, 0.1, 0.1], [0.05, 0.8, 0.05, 0.05, 0.05]], dtype=np.float32)
    assert 0.45 < best_threshold(guesses, np.array([0, 1])) <= 0.6
    assert best_threshold(guesses, np.array([1, 1])) <= 0.45


def test_plain_typing_has_no_accents_capitals_or_opening_marks() -> None:
    assert plainly("¿Qué TAL, señor?") == "que tal, senor?"
