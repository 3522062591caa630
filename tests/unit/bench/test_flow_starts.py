"""What is made of the starts of flows."""

from __future__ import annotations

from bench._flow_starts import Started, figures


def test_medians_stand_beside_their_aims() -> None:
    told = figures([Started(0.01, 0.02, 0.4), Started(0.03, 0.02, 1.5), Started(0.02, 0.02, 1.1)])
    assert told["n"] == 3
    assert told["accepted"]["median_ms"] == 20.0 and told["accepted"]["met"]
    assert told["first_line"]["median_ms"] == 1100.0 and not told["first_line"]["met"]
    assert told["work_began"] == {"median_ms": 20.0, "p90_ms": 20.0}
