"""What of a request goes to the model."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from db.records import MessageRecord
from flows.turn import ChatMessage
from flows.voice import VoiceWish
from services_node.chat_api.asking import (
    alternating,
    earlier_messages,
    new_messages,
    prompt,
    title,
    tools_wanted,
    voice_wish,
)
from services_node.chat_api.schemas import ChatRequest
from wire.errors import ValidationFailed


def user(text: str) -> ChatMessage:
    return ChatMessage("user", text)


def assistant(text: str) -> ChatMessage:
    return ChatMessage("assistant", text)


def stored(role: Any, content: str) -> MessageRecord:
    return MessageRecord(uuid.uuid4(), role, content, None, True, None, datetime.now(UTC), 1)


@pytest.mark.parametrize("name", ["message", "prompt"])
def test_either_name_of_the_message_is_taken(name: str) -> None:
    assert new_messages(ChatRequest(**{name: "hola"}), 100) == (user("hola"),)


def test_exactly_one_of_them_is_wanted() -> None:
    with pytest.raises(ValidationFailed) as missing:
        new_messages(ChatRequest(), 100)
    assert missing.value.param == "message"
    with pytest.raises(ValidationFailed) as both:
        new_messages(ChatRequest(message="a", prompt="b"), 100)
    assert both.value.param == "prompt"


def test_a_message_is_neither_empty_nor_too_long() -> None:
    for text, code in (("  ", "empty_message"), ("x" * 101, "message_too_long")):
        with pytest.raises(ValidationFailed) as error:
            new_messages(ChatRequest(message=text), 100)
        assert error.value.code == code and error.value.param == "message"
    assert new_messages(ChatRequest(message="x" * 100), 100)


def test_the_field_at_fault_within_messages_is_named() -> None:
    asked = ChatRequest.model_validate(
        {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": ""}]}
    )
    with pytest.raises(ValidationFailed) as error:
        new_messages(asked, 100)
    assert error.value.param == "messages.1.content"


def test_what_is_wished_of_the_voice() -> None:
    assert voice_wish(ChatRequest(message="hola")) is None
    assert voice_wish(ChatRequest(message="hola", speak=False)) is None
    assert voice_wish(ChatRequest(message="hola", speak=True)) == VoiceWish()
    asked = ChatRequest.model_validate({"message": "hola", "speak": {"voice": "ef_dora", "format": "wav", "speed": 1}})
    assert voice_wish(asked) == VoiceWish("ef_dora", "wav", None, 1.0, None)


@pytest.mark.parametrize(
    ("speak", "place"),
    [
        ("yes", ("speak",)),
        (1, ("speak",)),
        ({"speed": 9}, ("speak", "speed")),
        ({"format": "midi"}, ("speak", "format")),
    ],
)
def test_a_wish_that_cannot_be_is_refused_by_its_field(speak: Any, place: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as error:
        ChatRequest.model_validate({"message": "hola", "speak": speak})
    assert [fault["loc"] for fault in error.value.errors()] == [place]


def test_the_newest_messages_within_both_limits_are_kept() -> None:
    earlier = [user("one"), assistant("two"), user("three"), assistant("four")]
    assert prompt(earlier, [user("five")], most_messages=2, most_chars=1000) == (
        user("three"), assistant("four"), user("five"),
    )  # fmt: skip
    assert prompt(earlier, [user("five")], most_messages=40, most_chars=13) == (
        user("three"), assistant("four"), user("five"),
    )  # fmt: skip
    assert prompt(earlier, [user("five")], most_messages=40, most_chars=0) == (user("five"),)


def test_a_window_never_begins_with_an_answer() -> None:
    earlier = [user("one"), assistant("two")]
    assert prompt(earlier, [user("three")], most_messages=1, most_chars=1000) == (user("three"),)


def test_questions_without_an_answer_are_joined_and_repeated_ones_said_once() -> None:
    assert alternating([user("a"), user("b"), assistant("c")]) == [user("a\n\nb"), assistant("c")]
    assert alternating([user("a"), user("a")]) == [user("a")]


def test_context_counts_only_where_no_conversation_is_stored() -> None:
    asked = ChatRequest.model_validate({"message": "x", "context": [{"role": "assistant", "content": "before"}]})
    assert earlier_messages(asked, []) == [assistant("before")]
    assert earlier_messages(asked, [stored("user", "kept")]) == [user("kept")]


def test_older_names_of_the_length_are_understood() -> None:
    assert ChatRequest(message="x", n_predict=5).options() == {"max_tokens": 5}
    assert ChatRequest(message="x", n_predict=-1).options() == {}
    assert ChatRequest(message="x", n_predict=5, max_tokens=7).options() == {"max_tokens": 7}


def test_a_title_is_how_the_first_question_begins() -> None:
    assert title([ChatMessage("system", "sé breve"), user("  hola\n mundo ")]) == "hola mundo"
    assert len(title([user("x" * 200)])) == 80


@pytest.mark.parametrize(
    ("asked", "wanted", "names"),
    [
        ({}, True, None),
        ({"tools": True}, True, None),
        ({"tools": False}, False, None),
        ({"tools": []}, False, frozenset()),
        ({"tools": ["calculate"]}, True, frozenset({"calculate"})),
    ],
)
def test_which_tools_may_be_used(asked: dict[str, Any], wanted: bool, names: frozenset[str] | None) -> None:
    found = tools_wanted(ChatRequest(message="hola", **asked))
    assert (found.wanted, found.allowed.names) == (wanted, names)


def test_what_the_assistant_was_told_to_be_stays_however_long_the_conversation() -> None:
    earlier = [ChatMessage("system", "be brief"), *[user("q"), assistant("a")] * 30]
    kept = prompt(earlier, [user("now")], most_messages=4, most_chars=1000)
    assert kept[0] == ChatMessage("system", "be brief") and len(kept) == 6
