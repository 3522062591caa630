"""The cold-load benchmark's ratio is ours to plain."""

from __future__ import annotations

from bench.cold_load import summarise


def test_the_ratio_is_of_medians_ours_to_plain() -> None:
    told = summarise([9.0, 10.0, 30.0], [40.0, 41.0, 20.0])
    assert (told["model_server_median_s"], told["plain_median_s"], told["ratio"]) == (10.0, 40.0, 0.25)
