"""Choosing from scores and waits: the best, unless it sticks, says nothing, or another saves enough waiting."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from models_node.routing.choice import Bounds, Choice, allowance, choose

BOUNDS = Bounds(sticky_margin=0.2, warm_band=0.2, warm_half_seconds=10, warm_least_seconds=1)


def chosen(
    scores: Mapping[str, float], waits: Mapping[str, float] | None = None, incumbent: str | None = None
) -> tuple[str, str]:
    choice = choose(scores, waits or {}, BOUNDS, default="g", abstain_below=0.4, incumbent=incumbent)
    return choice.model, choice.reason


def test_the_best_score_wins() -> None:
    assert chosen({"g": 0.2, "c": 0.7, "t": 0.1}) == ("c", "meaning")


def test_equal_scores_go_to_the_first() -> None:
    assert chosen({"b": 0.5, "a": 0.5}) == ("b", "meaning")


def test_a_score_too_low_to_mean_anything_leaves_it_to_the_default() -> None:
    assert chosen({"g": 0.2, "c": 0.35, "t": 0.3}) == ("g", "abstained")


def test_a_conversation_keeps_its_model_when_another_leads_only_a_little() -> None:
    assert chosen({"g": 0.1, "c": 0.5, "t": 0.4}, incumbent="t") == ("t", "sticky")


def test_a_conversation_changes_when_the_topic_really_does() -> None:
    assert chosen({"g": 0.05, "c": 0.7, "t": 0.25}, incumbent="t") == ("c", "meaning")


def test_a_conversation_keeps_its_model_when_nothing_is_clear() -> None:
    assert chosen({"g": 0.3, "c": 0.38, "t": 0.05}, incumbent="t") == ("t", "sticky")


def test_an_incumbent_that_is_the_best_anyway_is_no_stickiness() -> None:
    assert chosen({"g": 0.1, "c": 0.9}, incumbent="c") == ("c", "meaning")


def test_an_incumbent_that_may_not_answer_is_forgotten() -> None:
    assert chosen({"g": 0.1, "c": 0.9}, incumbent="gone") == ("c", "meaning")


def test_a_model_in_memory_wins_when_both_are_close() -> None:
    assert chosen({"c": 0.5, "t": 0.45}, {"c": 30, "t": 0}) == ("t", "warm")


def test_but_not_when_it_is_clearly_the_wrong_one() -> None:
    assert chosen({"c": 0.8, "t": 0.2}, {"c": 30, "t": 0}) == ("c", "meaning")


def test_the_more_waiting_is_saved_the_further_behind_it_may_be() -> None:
    scores = {"c": 0.56, "t": 0.44}
    assert chosen(scores, {"c": 5, "t": 0}) == ("c", "meaning")
    assert chosen(scores, {"c": 60, "t": 0}) == ("t", "warm")


def test_a_model_that_can_never_answer_gives_way_within_the_whole_band() -> None:
    assert chosen({"c": 0.59, "t": 0.41}, {"c": math.inf, "t": 3}) == ("t", "warm")


def test_savings_too_small_to_notice_do_not_count() -> None:
    assert chosen({"c": 0.5, "t": 0.5}, {"c": 0.9, "t": 0}) == ("c", "meaning")


@pytest.mark.parametrize("waits", [{"c": 30}, {"t": 0}, {}])
def test_waits_that_nobody_knows_change_nothing(waits: dict[str, float]) -> None:
    assert chosen({"c": 0.5, "t": 0.45}, waits) == ("c", "meaning")


def test_of_several_near_ones_score_and_wait_are_weighed() -> None:
    waits = {"c": 40, "t": 8, "g": 0}
    assert chosen({"c": 0.36, "t": 0.33, "g": 0.31, "a": 0.0} | {"c": 0.41}, waits) == ("g", "warm")
    assert chosen({"c": 0.45, "t": 0.42, "g": 0.3}, waits) == ("t", "warm")


def test_waiting_counts_against_a_conversations_model_too() -> None:
    assert chosen({"c": 0.45, "t": 0.4}, {"t": 30, "c": 0}, incumbent="t") == ("c", "warm")


def test_the_allowance_rises_with_the_saving_towards_the_band() -> None:
    steps = [allowance(seconds, BOUNDS) for seconds in (0, 1, 10, 100, math.inf)]
    assert steps == sorted(steps)
    assert (steps[0], steps[2], steps[-1]) == (0, 0.1, 0.2)


def test_a_choice_is_a_plain_value() -> None:
    assert Choice("a", "meaning") == Choice("a", "meaning")
