"""Calls that a model writes into its text, as many do whose parser knows another form.

While a text may still become such a call it is held back, so that a reader never sees half of one; anything else
passes at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from flows.tools.calls import Call, read_arguments

_OPEN = ("<tool_call>", "<function_call>", "```json", "```tool_call", "[TOOL_CALLS]")
_CLOSE = ("</tool_call>", "</function_call>", "```")
_OPENINGS = (*_OPEN, "{")
MOST_HELD_CHARS = 20_000


@dataclass(slots=True)
class HeldText:
    """The beginning of an answer that may be a call. names: the tools that could be meant."""

    names: Collection[str]
    _held: list[str] = field(default_factory=list)
    _size: int = 0
    _passing: bool = False

    def take(self, piece: str) -> str:
        """What of the answer may be shown now."""
        if self._passing:
            return piece
        self._held.append(piece)
        self._size += len(piece)
        text = "".join(self._held).lstrip()
        if self._size <= MOST_HELD_CHARS and (not text or any(_fits(text, opening) for opening in _OPENINGS)):
            return ""
        return self._release()

    def rest(self) -> tuple[str, list[Call]]:
        """At the answer's end: what was held and is to be shown, or the calls that it was."""
        if self._passing:
            return "", []
        calls = written_calls("".join(self._held), self.names)
        return ("", calls) if calls else (self._release(), [])

    def _release(self) -> str:
        self._passing = True
        text = "".join(self._held)
        self._held.clear()
        return text


def _fits(text: str, opening: str) -> bool:
    """Whether the text begins so, or may yet."""
    return text.startswith(opening) or opening.startswith(text)


def written_calls(text: str, names: Collection[str]) -> list[Call]:
    """The calls that a whole answer consists of; none where it is anything else."""
    body = text.strip()
    pieces = re.split(r"</tool_call>\s*(?=<tool_call>)", body) if body.startswith("<tool_call>") else [body]
    calls: list[Call] = []
    for found in (one for piece in pieces for one in _objects(_unwrapped(piece))):
        name = found.get("name")
        if name not in names:
            return []
        arguments = found.get("arguments", found.get("parameters", {}))
        if isinstance(arguments, str):
            arguments = read_arguments(arguments)
        written = arguments if isinstance(arguments, dict) else None
        calls.append(Call(f"call_{len(calls)}", str(name), written, json.dumps(arguments, ensure_ascii=False)))
    return calls


def _objects(form: str) -> list[dict[str, Any]]:
    """JSON objects, one after the other or in a list; a single broken one is mended. `[{}]`, of no tool, for others."""
    found: list[Any] = []
    decoder, at = json.JSONDecoder(), 0
    try:
        while at < len(form):
            value, at = decoder.raw_decode(form, at)
            found += value if isinstance(value, list) else [value]
            at = len(form) - len(form[at:].lstrip(" \r\n\t,;"))
    except (ValueError, RecursionError):
        mended = read_arguments(form) if form.startswith("{") and not found else None
        found = [mended]
    return [one if isinstance(one, dict) else {} for one in found]


def _unwrapped(piece: str) -> str:
    form = piece.strip()
    opening = next((one for one in _OPEN if form.startswith(one)), "")
    closing = next((one for one in _CLOSE if form.endswith(one)), "")
    return form.removeprefix(opening).removesuffix(closing).strip()
