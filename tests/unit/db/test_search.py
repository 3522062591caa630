"""Snippets."""

from __future__ import annotations

from db.search import SNIPPET_CHARS, marked


def test_a_snippet_is_one_line_with_plain_marks() -> None:
    assert marked("a\n\n \ue000lluvia\ue001  de *b*") == "a **lluvia** de *b*"


def test_one_that_is_too_long_is_cut_and_its_mark_is_closed() -> None:
    cut = marked("a \ue000" + "x" * 9999 + "\ue001")
    assert cut.startswith("a **x") and cut.endswith("x…**") and len(cut) <= SNIPPET_CHARS + 8
