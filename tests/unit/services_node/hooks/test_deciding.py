"""What a try means, and when the next one is due."""

from __future__ import annotations

import pytest

from services_node.chat_api.hooks.deciding import (
    Again,
    Answer,
    GivenUp,
    Gone,
    Had,
    Retrying,
    Verdict,
    decided,
    wait_seconds,
)

RULES = Retrying(first_seconds=1, most_seconds=300, give_up_seconds=3600)


def verdict(status: int | None, *, is_callback: bool = False, failures: int = 0, waited: float = 0) -> Verdict:
    return decided(
        Answer(status, "words"), RULES, is_callback=is_callback, failures=failures, waited_seconds=waited, chance=1.0
    )


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_a_receiver_that_says_yes_has_it(status: int) -> None:
    assert verdict(status) == Had() == verdict(status, is_callback=True, waited=1e9)


@pytest.mark.parametrize("status", [None, 199, 300, 302, 400, 401, 404, 409, 429, 500, 502, 503])
def test_whatever_else_it_says_it_is_told_again(status: int | None) -> None:
    assert verdict(status) == Again("words", 1.0) == verdict(status, is_callback=True, waited=3599)


def test_a_hook_is_never_given_up_and_a_callback_is_after_its_time() -> None:
    assert isinstance(verdict(500, waited=1e9), Again)
    assert verdict(500, is_callback=True, waited=3600) == GivenUp("words")


def test_an_address_that_has_gone_takes_its_hook_along() -> None:
    assert verdict(410) == Gone()
    assert verdict(410, is_callback=True) == GivenUp("words")


def test_waits_double_up_to_the_most_and_are_spread() -> None:
    assert [wait_seconds(RULES, failures, 1.0) for failures in (0, 1, 2, 8, 9, 10_000)] == [1, 2, 4, 256, 300, 300]
    assert wait_seconds(RULES, 2, 0.0) == 2 and 2 < wait_seconds(RULES, 2, 0.3) < 4
