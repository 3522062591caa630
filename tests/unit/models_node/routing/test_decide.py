"""The whole decision in its order: asked, facts, language, meaning with the conversation, waits."""

from __future__ import annotations

import pytest

from models_node.catalogue import Catalogue
from models_node.routing.decide import Decider, Decision
from models_node.routing.meaning import Meaning
from models_node.routing.router import RoutingQuery
from tests.unit.models_node.routing.stand_ins import (
    FIVE,
    RULES,
    SaidLanguage,
    WordEncoder,
    catalogue,
    entry,
    word_head,
)
from wire.errors import ApiError


def decided(
    *texts: str,
    node: Catalogue = FIVE,
    waits: dict[str, float] | None = None,
    meaning: Meaning | None = None,
    **more: object,
) -> Decision:
    query = RoutingQuery(None, texts, **more)  # type: ignore[arg-type]
    read = meaning or Meaning(WordEncoder(), word_head())
    return Decider(node, RULES, SaidLanguage()).decide(query, waits or {}, read)


def told(decision: Decision) -> tuple[str, str, str]:
    return decision.route.model, decision.route.label, decision.route.reason


@pytest.mark.parametrize("asked", [None, "", "auto", "AUTO", " auto ", "default"])
def test_these_names_leave_the_choice_to_us(asked: str | None) -> None:
    decision = Decider(FIVE, RULES, SaidLanguage()).decide(RoutingQuery(asked, ("coding",)), {}, None)
    assert told(decision) == ("g", "general", "default")


def test_a_named_model_is_what_was_asked_whatever_is_said() -> None:
    decision = Decider(FIVE, RULES, SaidLanguage()).decide(RoutingQuery("t", ("coding",)), {}, None)
    assert told(decision) == ("t", "technical", "asked")
    assert decision.route.confidence is None


def test_an_unknown_model_is_a_404_that_names_the_known_ones() -> None:
    with pytest.raises(ApiError, match="a, c, g, m, t") as caught:
        Decider(FIVE, RULES, SaidLanguage()).decide(RoutingQuery("gpt-5"), {}, None)
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")


def test_images_for_a_named_blind_model_are_a_422_that_says_who_sees() -> None:
    seeing = catalogue(entry("g", "general"), entry("a", "analysis", vision=True))
    with pytest.raises(ApiError, match="these do: a") as caught:
        Decider(seeing, RULES, SaidLanguage()).decide(RoutingQuery("g", images=1), {}, None)
    assert (caught.value.status, caught.value.code) == (422, "no_vision_model")


def test_images_go_to_the_model_that_sees() -> None:
    seeing = catalogue(entry("g", "general"), entry("a", "analysis", vision=True))
    assert told(decided("coding", node=seeing, images=1)) == ("a", "analysis", "images")


def test_the_meaning_decides_and_its_probabilities_are_the_scores() -> None:
    decision = decided("coding please")
    assert told(decision) == ("c", "coding", "meaning")
    assert decision.route.confidence == pytest.approx(decision.route.scores["c"])
    assert sum(decision.route.scores.values()) == pytest.approx(1)


def test_what_says_nothing_goes_to_the_default() -> None:
    assert told(decided("hm"))[::2] == ("g", "abstained")


def test_another_language_goes_to_the_multilingual_model() -> None:
    decision = decided("fr: coding coding")
    assert told(decision) == ("m", "multilingual", "language")
    assert decision.probabilities is None


def test_without_a_multilingual_model_the_meaning_decides() -> None:
    node = catalogue(entry("g", "general"), entry("c", "coding"))
    assert told(decided("fr: coding", node=node)) == ("c", "coding", "meaning")


def test_tools_leave_out_the_model_that_the_meaning_wanted() -> None:
    node = catalogue(entry("g", "general", tools=True), entry("c", "coding"), entry("t", "technical", tools=True))
    assert told(decided("coding coding general", node=node, tools=True)) == ("g", "coding", "tools")


def test_length_leaves_out_the_model_that_the_meaning_wanted() -> None:
    node = catalogue(entry("g", "general", context=10), entry("c", "coding", context=10), entry("a", "analysis"))
    assert told(decided("coding", node=node, characters=2000)) == ("a", "analysis", "length")


def test_a_question_that_leans_on_the_one_before_is_read_with_it() -> None:
    assert told(decided("coding coding", "and in red"))[0] == "c"


def test_a_new_topic_changes_the_model() -> None:
    assert told(decided("coding coding coding", "technical technical")) == ("t", "technical", "meaning")


def test_a_vague_turn_stays_with_the_conversations_model() -> None:
    decision = decided("coding coding", "hm")
    assert told(decision)[::2] == ("c", "sticky")
    assert decision.incumbent == "c"


def test_a_vague_beginning_settles_nothing() -> None:
    assert decided("hello", "coding").incumbent is None


def test_a_conversation_in_another_language_stays_with_its_model() -> None:
    assert told(decided("fr: bonjour", "ok"))[::2] == ("m", "sticky")


def test_only_a_few_earlier_turns_are_looked_at() -> None:
    encoder = WordEncoder()
    decided(*(f"coding {turn}" for turn in range(50)), meaning=Meaning(encoder, word_head()))
    assert len(encoder.texts) == 3


def test_the_model_in_memory_answers_what_two_could() -> None:
    assert told(decided("coding technical", waits={"c": 30, "t": 0}))[::2] in {("t", "warm"), ("t", "meaning")}
    assert told(decided("coding technical", waits={"c": 0, "t": 30}))[0] == "c"


def test_without_any_text_the_default_answers() -> None:
    assert told(decided()) == ("g", "general", "default")
    assert told(decided("  ")) == ("g", "general", "default")
