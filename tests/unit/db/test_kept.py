"""What others said, made fit to be kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from db.kept import CUT, DEPTH, DETAIL_CHARS, ITEMS, TEXT_CHARS, detail, plain, read_calls, text, written_calls
from db.records import ToolCallRecord

CALL = ToolCallRecord("c1", "t", {"a": [1, None, True]}, "completed", "r", None, 1.5, untrusted=True)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a\x00b\ud800", "a\ufffdb?"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ({"a\x00": (1, 2.5)}, {"a\ufffd": [1, 2.5]}),
        ({1: b"x"}, {"1": "b'x'"}),
        ("x" * (TEXT_CHARS + 1), "x" * TEXT_CHARS + CUT),
        (list(range(ITEMS + 5)), list(range(ITEMS))),
    ],
)
def test_a_value_becomes_json_that_postgres_takes(given: Any, kept: Any) -> None:
    assert plain(given) == kept
    json.dumps(plain(given), allow_nan=False)


def test_what_is_too_deep_is_cut() -> None:
    deep: Any = "bottom"
    for _ in range(5000):
        deep = [deep]
    kept, levels = plain(deep), 0
    while isinstance(kept, list):
        kept, levels = kept[0], levels + 1
    assert kept == CUT and levels == DEPTH


def test_words_of_an_error_are_bounded() -> None:
    assert detail("x" * 9999) == "x" * DETAIL_CHARS and detail(None) is None and text("ñ") == "ñ"


def test_tool_calls_come_back_as_they_were() -> None:
    written = json.loads(json.dumps(written_calls([CALL])))
    assert read_calls(written) == (CALL,) and written_calls([]) is None and read_calls(None) == ()
