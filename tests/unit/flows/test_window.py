"""What is left of a conversation that a model finds too long."""

from __future__ import annotations

import pytest

from flows.window import Message, exceeds_context, newer_half, newest_that_fit, surely_fits
from wire.errors import ApiError, InvalidRequest, UpstreamFailed

ROLES = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}


def messages(roles: str) -> tuple[Message, ...]:
    return tuple({"role": ROLES[role], "content": f"{role}{at}"} for at, role in enumerate(roles))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("u", None),
        ("su", None),
        ("", None),
        ("uu", "u1"),
        ("uau", "u2"),
        ("suau", "s0 u3"),
        ("uauau", "u4"),
        ("uauauau", "u4 a5 u6"),
        ("suauauau", "s0 u5 a6 u7"),
        ("aaa", "a2"),
        ("uat", None),
        ("uauat", "u2 a3 t4"),
    ],
)
def test_the_newer_half_begins_with_a_question_and_keeps_the_system_message(before: str, after: str | None) -> None:
    left = newer_half(messages(before))
    assert (left and " ".join(message["content"] for message in left)) == after


@pytest.mark.parametrize("count", range(1, 40))
def test_it_is_always_fewer_and_ends_with_the_newest(count: int) -> None:
    left: tuple[Message, ...] | None = messages(("ua" * count)[: count - 1] + "u")
    newest = left[-1]
    while left is not None:
        assert left[-1] is newest
        shorter = newer_half(left)
        assert shorter is None or len(shorter) < len(left)
        left = shorter


@pytest.mark.parametrize(
    ("error", "too_long"),
    [
        (InvalidRequest("This model's maximum context length is 4096 tokens. However, your prompt contains …"), True),
        (InvalidRequest("Input length (5000) exceeds model's maximum context length (4096)."), True),
        (InvalidRequest("The decoder prompt (length 5000) is longer than the maximum model length of 4096."), True),
        (InvalidRequest("max_tokens=9000 cannot be greater than max_model_len=4096."), False),
        (UpstreamFailed("maximum context length"), False),
    ],
)
def test_only_a_refusal_for_its_length_counts(error: ApiError, too_long: bool) -> None:
    assert exceeds_context(error) is too_long


@pytest.mark.parametrize(
    ("roles", "room", "kept"),
    [
        ("uauau", 1000, "u0 a1 u2 a3 u4"),
        ("uauau", 54, "u2 a3 u4"),
        ("uauau", 53, "u4"),
        ("uauau", 36, "u4"),
        ("uauau", 1, "u4"),
        ("suauau", 72, "s0 u3 a4 u5"),
        ("suauau", 1, "s0 u5"),
        ("u", 1, "u0"),
        ("uauat", 1, "u2 a3 t4"),
    ],
)
def test_the_newest_that_fit_are_kept_and_the_newest_always(roles: str, room: int, kept: str) -> None:
    said = messages(roles)
    left = newest_that_fit(said, [10] * len(said), room)
    assert " ".join(message["content"] for message in left) == kept


def test_a_text_of_fewer_bytes_than_there_are_tokens_surely_fits() -> None:
    assert surely_fits(messages("ua"), 20) and not surely_fits(messages("ua"), 19)
    assert not surely_fits([{"role": "user", "content": "ñ" * 10}], 20)
