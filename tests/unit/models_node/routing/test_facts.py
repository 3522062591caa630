"""Facts come before meaning: who sees, who has tools, whose context is long enough."""

from __future__ import annotations

import pytest

from models_node.routing.facts import eligible, estimated_tokens
from models_node.routing.router import RoutingQuery
from tests.unit.models_node.routing.stand_ins import catalogue, entry
from wire.errors import ApiError

NODE = catalogue(
    entry("g", "general", tools=True, priority=5),
    entry("c", "coding", tools=True, priority=3),
    entry("a", "analysis", vision=True, context=9000, priority=2),
    entry("e", "general", embeddings=True, priority=9),
)


def ids(query: RoutingQuery, needed: int = 10) -> list[str]:
    return [entry.id for entry in eligible(NODE, query, needed).entries]


def test_everybody_who_chats_can_answer_a_plain_question_foremost_first() -> None:
    assert ids(RoutingQuery(None)) == ["g", "c", "a"]


def test_images_need_a_model_that_sees() -> None:
    who = eligible(NODE, RoutingQuery(None, images=1), 10)
    assert [entry.id for entry in who.entries] == ["a"]
    assert who.excluded == {"g": "images", "c": "images"}


def test_images_where_nobody_sees_are_a_422() -> None:
    blind = catalogue(entry("g", "general"))
    with pytest.raises(ApiError) as caught:
        eligible(blind, RoutingQuery(None, images=1), 10)
    assert (caught.value.status, caught.value.code) == (422, "no_vision_model")


def test_tools_need_a_model_that_calls_them() -> None:
    assert ids(RoutingQuery(None, tools=True)) == ["g", "c"]


def test_tools_that_nobody_can_call_exclude_nobody() -> None:
    assert len(eligible(catalogue(entry("g", "general")), RoutingQuery(None, tools=True), 10).entries) == 1


def test_long_texts_need_a_long_context() -> None:
    who = eligible(NODE, RoutingQuery(None), 5000)
    assert [entry.id for entry in who.entries] == ["a"]
    assert who.excluded == {"g": "length", "c": "length"}


def test_a_text_too_long_for_all_goes_to_the_longest_which_will_say_so() -> None:
    assert ids(RoutingQuery(None), 100_000) == ["a"]


def test_tools_go_before_length_when_both_cannot_be_had() -> None:
    assert ids(RoutingQuery(None, tools=True), 5000) == ["g", "c"]


def test_tokens_are_text_and_the_answer_asked_for() -> None:
    assert estimated_tokens(RoutingQuery(None, characters=401), 4, 256) == 101 + 256
    assert estimated_tokens(RoutingQuery(None, characters=400, answer_tokens=2000), 4, 256) == 2100
