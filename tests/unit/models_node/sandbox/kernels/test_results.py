"""MIME bundles by the names of the SDK's results."""

from __future__ import annotations

from models_node.sandbox.inside.kernels.results import result_data, without_quotes


def test_every_kind_has_the_sdks_name_and_others_are_extra() -> None:
    bundle = {
        "text/plain": "'a'",
        "image/png": b"\x89PNG",
        "e2b/chart": {"type": "line"},
        "application/vnd.x": {"a": 1},
    }
    assert result_data(bundle) == {
        "text": "a",
        "png": "iVBORw==",
        "chart": {"type": "line"},
        "extra": {"application/vnd.x": {"a": 1}},
    }


def test_only_a_pair_of_outer_quotes_is_taken_away() -> None:
    assert [without_quotes(text) for text in ("'a'", '"b"', "'", "['a']", "'a", "")] == [
        "a",
        "b",
        "'",
        "['a']",
        "'a",
        "",
    ]


def test_base64_has_no_line_ends() -> None:
    assert result_data({"image/png": "ab\ncd\n"}) == {"png": "abcd"}
