"""A text that is still being written, sentence by sentence. Pure."""

from __future__ import annotations

import re

_END = re.compile(r"(?<=[.!?…])[\"'»”)\]]*\s+(?=\S)|\n\s*\n|\n(?=\s*(?:[-*+#>]|\d+[.)])\s)")
_FENCE = re.compile(r"^\s*(```|~~~)", re.MULTILINE)


class SentenceStream:
    """Takes pieces of a text as they come and gives what is complete of it, as it was written. A code fence is never
    cut: it comes whole, with the sentence after it."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, piece: str) -> list[str]:
        self._rest += piece
        found, start = [], 0
        for end in _END.finditer(self._rest):
            if len(_FENCE.findall(self._rest[: end.start()])) % 2:
                continue
            found.append(self._rest[start : end.end()])
            start = end.end()
        self._rest = self._rest[start:]
        return [sentence.strip() for sentence in found if sentence.strip()]

    def finish(self) -> list[str]:
        rest, self._rest = self._rest.strip(), ""
        return [rest] if rest else []
