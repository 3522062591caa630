"""A document becomes what is spoken of it: its text, and parts of it that are spoken one after the other. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

from wire.errors import ValidationFailed
from wire.sentences import SentenceStream

ENDINGS = frozenset({".txt", ".md", ".markdown", ".text"})
_FENCE = re.compile(r"\s*(`{3,}|~{3,})")
LONGEST_FENCE_CHARS = 24
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


def text_of(name: str, data: bytes) -> str:
    """The text of a file. Raises ValidationFailed, saying what to do, for what is no text in UTF-8."""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = "\x00"
    if _CONTROL.search(text):
        known = PurePath(name).suffix.lower() in ENDINGS
        mend = "save it in UTF-8" if known else "export it as text or Markdown (UTF-8), upload that, and name it here"
        raise ValidationFailed(f"{name!r} is no text that can be read: {mend}.", code="not_a_text", param="file_id")
    return text


def parts_of(text: str, most_chars: int) -> list[str]:
    """The text in order, in parts of at most so many characters: whole blocks of Markdown where they fit, else whole
    sentences, else words. What is cut of code stays code."""
    parts: list[str] = []
    for piece in _pieces(text.replace("\r\n", "\n").replace("\r", "\n"), most_chars):
        if parts and len(parts[-1]) + 2 + len(piece) <= most_chars:
            parts[-1] += f"\n\n{piece}"
        else:
            parts.append(piece)
    return parts


def _pieces(text: str, most_chars: int) -> Iterator[str]:
    for block in _blocks(text):
        if len(block) <= most_chars:
            yield block
        elif _FENCE.match(block):
            yield from _code(block, most_chars)
        else:
            yield from _grouped(_sentences(block), most_chars)


def _blocks(text: str) -> Iterator[str]:
    """What blank lines part; a code fence is one block, with its blank lines."""
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            lines.append(line)
            if mark and mark[1].startswith(fence) and not line.strip().strip(fence[0]):
                yield "\n".join(lines)
                lines, fence = [], ""
            continue
        if (mark or not line.strip()) and lines:
            yield "\n".join(lines)
            lines = []
        if mark:
            fence = mark[1]
        if line.strip():
            lines.append(line)
    if lines:
        yield "\n".join(lines)


def _sentences(block: str) -> list[str]:
    stream = SentenceStream()
    return [said for piece in (*stream.feed(block), *stream.finish()) if (said := piece.strip())]


def _code(block: str, most_chars: int) -> Iterator[str]:
    first, *rest = block.split("\n")
    first = first[:LONGEST_FENCE_CHARS]  # stands in every part
    room = max(1, most_chars - 2 * len(first) - 2)
    body = rest[:-1] if rest and _FENCE.match(rest[-1]) else rest
    fence = (_FENCE.match(first) or [""])[0].strip()
    for group in _grouped(body, room):
        yield f"{first}\n{group}\n{fence}"


def _grouped(pieces: list[str], most_chars: int) -> Iterator[str]:
    """Joined by line ends, which Markdown takes for spaces."""
    group = ""
    for piece in pieces:
        for word in [piece] if len(piece) <= most_chars else _words(piece, most_chars):
            if group and len(group) + 1 + len(word) > most_chars:
                yield group
                group = ""
            group = f"{group}\n{word}" if group else word
    if group:
        yield group


def _words(sentence: str, most_chars: int) -> Iterator[str]:
    """An endless sentence, cut at spaces; one without any, anywhere."""
    while len(sentence) > most_chars:
        at = sentence.rfind(" ", 1, most_chars + 1)
        at = at if at > 0 else most_chars
        yield sentence[:at].strip()
        sentence = sentence[at:].strip()
    if sentence:
        yield sentence
