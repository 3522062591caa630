"""The benchmark's arithmetic: percentiles, and each decision on a text that is new."""

from __future__ import annotations

from bench.routing import WARM_UP, percentile, timed, told
from models_node.routing.router import RoutingQuery


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert (percentile(values, 0.5), percentile(values, 0.99), percentile([3.0], 0.99)) == (51, 100, 3)


def test_times_are_told_in_milliseconds() -> None:
    assert told([0.001, 0.002, 0.003]) == {"p50_ms": 2.0, "p99_ms": 3.0, "decisions": 3}


def test_no_text_that_is_timed_was_decided_before() -> None:
    asked: list[RoutingQuery] = []
    texts = [f"text {number}" for number in range(20)]
    assert len(timed(asked.append, texts)) == 20
    said = [query.texts for query in asked]
    assert len(set(said)) == len(said) == 20 + WARM_UP
