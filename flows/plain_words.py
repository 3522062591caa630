"""Somebody's words inside our Markdown: one line, cut, and doing nothing there. Pure."""

from __future__ import annotations

LINE_CHARS = 160


def one_line(text: str, most: int = LINE_CHARS) -> str:
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def plain_line(text: str, most: int = LINE_CHARS) -> str:
    """As one line of Markdown without any meaning of its own."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#!~&" else sign for sign in one_line(text, most))
