"""What is made of the deliveries of events."""

from __future__ import annotations

import pytest

from bench._callback_figures import Came, judged

COUNTS = ("lost", "out_of_order", "told_again", "told_again_with_another_id", "not_verified")


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
    figures = judged([Came(event, run, bool(event), 0.0) for run, event in told], ["a", "b", "c"])
    assert tuple(figures[name] for name in COUNTS) == counts and figures["deliveries"] == len(told)
