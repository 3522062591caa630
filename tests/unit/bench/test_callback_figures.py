"""What is made of the deliveries of events."""

from __future__ import annotations

import pytest

from bench._callback_figures import Came, Ended, judged

COUNTS = ("lost", "out_of_order", "told_again", "told_again_with_another_id", "not_verified")


def figures_of(told: list[tuple[str, str, str]]) -> dict[str, int]:
    """told: path, run, event; without an event, not verified."""
    wanted = [Ended("/h", "a"), Ended("/c", "x"), Ended("/h", "b"), Ended("/c", "y"), Ended("/h", "c")]
    return judged([Came(path, event, run, bool(event), 0.0) for path, run, event in told], wanted)


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        ([("a", "1"), ("b", "2"), ("b", "2"), ("c", "3")], (0, 0, 1, 0, 0)),
        ([("b", "2"), ("a", "1"), ("a", "9")], (1, 1, 1, 1, 0)),
        ([("a", "1"), ("c", "3"), ("b", "")], (0, 1, 0, 0, 1)),
        ([], (3, 0, 0, 0, 0)),
    ],
)
def test_what_is_lost_out_of_order_or_told_again_is_counted(
    told: list[tuple[str, str]], counts: tuple[int, ...]
) -> None:
    others = [("/c", "x", "7"), ("/c", "y", "8")]
    figures = figures_of([*(("/h", *one) for one in told), *others])
    assert tuple(figures[name] for name in COUNTS) == counts and figures["deliveries"] == len(told) + 2


def test_each_path_has_an_order_of_its_own() -> None:
    first, last = [("/h", run, run) for run in "abc"], [("/c", run, run) for run in "xy"]
    assert figures_of([*last, *first])["out_of_order"] == 0
    assert figures_of([*first, *reversed(last)])["out_of_order"] == 1
