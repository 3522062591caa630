"""Markdown, with tags and pauses in it, as blocks of plain text in reading order. Pure.

Inside a block's text stand two private characters that no caller's text can hold: LEFT_OUT, where code was too long to
read, and a pair that keeps code's `<` and `>` apart from tags until those are gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from markdown_it import MarkdownIt
from markdown_it.token import Token

LEFT_OUT = "\ue000"
_LESS, _MORE = "\ue001", "\ue002"

LONGEST_PAUSE_SECONDS = 10.0
BREAK_SECONDS = 0.5  # <break/> that says no time
AFTER_PARAGRAPH_SECONDS = 0.35
AFTER_ITEM_SECONDS = 0.15
READ_CODE_CHARS = 60  # longer code in a sentence is not read
BROKEN_LINE_CHARS = 50  # a line that ends before, with a capital after it, was ended on purpose
PART_CHARS = 2000  # of one paragraph: Markdown inside it is looked for no farther

_markdown = MarkdownIt("commonmark", {"html": False, "maxNesting": 12}).enable(["table", "strikethrough"])
_markdown.disable(["code", "reference"])  # indented text is no code, a definition is no secret

_BREAK = re.compile(r"<break\b([^<>]{0,200})>", re.IGNORECASE)
_TIME = re.compile(r"""time\s?=\s?["']?\s?(\d{1,6}(?:\.\d{1,3})?)\s?(ms|s)""", re.IGNORECASE)
_PAUSE = re.compile(r"\[(?:pause|pausa)\s?:\s?(\d{1,9}(?:[.,]\d{1,3})?)\s?(ms|s)?\s?\]", re.IGNORECASE)
_SCRIPT = re.compile(r"<(script|style)\b[^<>]{0,500}>", re.IGNORECASE)
_BLOCK_TAG = re.compile(r"<(?:/(?:p|div|li|h[1-6]|tr|s|section|article|title|blockquote)|br|hr)\s?/?>", re.IGNORECASE)
_TAG = re.compile(r"<[A-Za-z/!?][^<>]{0,500}>")
_BULLET = re.compile(r"^([ \t]{0,20})•[ \t]*", re.MULTILINE)
_TIMES = re.compile(r"(?<=\d)\*(?=\d)")
_BOX = re.compile(r"^\[[ xX]\]\s")
_STRAY = re.compile(r"\*{2,}|_{2,}(?!\w)|(?<!\w)_{2,}|~~|`")


@dataclass(frozen=True, slots=True)
class Block:
    """text: a paragraph, heading, item or row. pause_seconds: after it. code: a code block stands here, unread.
    ends: it ends as a sentence does, whether or not it says so."""

    text: str
    pause_seconds: float = 0.0
    code: bool = False


def blocks(text: str) -> list[Block]:
    """What there is to read, in order; a pause without a text before it stands alone."""
    text = _BREAK.sub(_as_pause, _without_scripts(text))
    text = _TIMES.sub("×", _BULLET.sub(r"\1- ", text))
    found: list[Block] = []
    for part in _parts(text):
        for block in _read(_markdown.parse(part)):
            found += [block] if block.code else _split(block)
    return found


def _without_scripts(text: str) -> str:
    """Without what stands in <script> and <style>."""
    kept, at, lower = [], 0, text.lower()
    for match in _SCRIPT.finditer(text):
        if match.start() < at:
            continue
        end = lower.find(f"</{match.group(1).lower()}", match.end())
        if end < 0:
            break
        kept.append(text[at : match.start()])
        at = end
    return "".join([*kept, text[at:]])


def _as_pause(match: re.Match[str]) -> str:
    time = _TIME.search(match.group(1))
    return f"[pause:{time.group(1)}{time.group(2)}]" if time else f"[pause:{BREAK_SECONDS}s]"


def _seconds(match: re.Match[str]) -> float:
    amount = float(match.group(1).replace(",", "."))
    return min(amount / 1000 if (match.group(2) or "s").lower() == "ms" else amount, LONGEST_PAUSE_SECONDS)


def _parts(text: str) -> Iterator[str]:
    """The text for the parser. An endless line or paragraph is cut, which Markdown's own rules take badly."""
    lines: list[str] = []
    chars, fence = 0, ""
    for line in _lines(text):
        sign = line.lstrip()[:3]
        if sign in ("```", "~~~"):
            fence = "" if fence == sign else fence or sign
        chars = 0 if not line.strip() or fence else chars + len(line) + 1
        if chars > PART_CHARS:
            yield "\n".join(lines)
            lines, chars = [], len(line)
        lines.append(line)
    yield "\n".join(lines)


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        begin = 0
        while len(line) - begin > PART_CHARS:
            cut = line.rfind(" ", begin + PART_CHARS // 2, begin + PART_CHARS) + 1 or begin + PART_CHARS
            yield line[begin:cut]
            begin = cut
        yield line[begin:]


def _read(tokens: Sequence[Token]) -> Iterator[Block]:
    number, row, depth = "", [""], 0
    for token in tokens:
        match token.type:
            case "list_item_open":
                number = f"{token.info}, " if token.info else ""
                depth += 1
            case "list_item_close":
                depth -= 1
            case "tr_open":
                row = []
            case "tr_close":
                yield Block(", ".join(cell for cell in row if cell), AFTER_ITEM_SECONDS)
                row = [""]
            case "inline" if not row or row != [""]:
                row.append(_flat(token.children or []))
            case "inline":
                pause = AFTER_ITEM_SECONDS if depth else AFTER_PARAGRAPH_SECONDS
                yield Block(number + _BOX.sub("", _flat(token.children or [])), pause)
                number = ""
            case "fence" | "code_block":
                yield Block("", AFTER_PARAGRAPH_SECONDS, code=True)


def _flat(children: Sequence[Token]) -> str:
    """The text of a paragraph's inside. `\\n\\n` parts what is to be read apart."""
    text = ""
    for position, token in enumerate(children):
        match token.type:
            case "text" | "text_special":
                text += token.content
            case "code_inline":
                short = len(token.content) <= READ_CODE_CHARS
                text += token.content.replace("<", _LESS).replace(">", _MORE) if short else LEFT_OUT
            case "softbreak":
                following = next((after.content for after in islice(children, position + 1, None) if after.content), "")
                text += _line_break(text, following)
            case "hardbreak":
                text += "\n\n"
            case "image":
                text += _flat(token.children or [])
    return text


def _line_break(before: str, after: str) -> str:
    line = before[max(before.rfind("\n"), len(before) - BROKEN_LINE_CHARS - 1) + 1 :]
    meant = len(line) < BROKEN_LINE_CHARS and after[:1].isupper()
    return "\n\n" if meant else "\n"


def _split(block: Block) -> Iterator[Block]:
    """A block's pieces between tags that part and pauses; the tags are gone."""
    text = _STRAY.sub("", _TAG.sub("", _BLOCK_TAG.sub("\n\n", block.text)))
    text = text.replace(_LESS, "<").replace(_MORE, ">")
    pieces: list[Block] = []
    at = 0
    for match in _PAUSE.finditer(text):
        pieces.append(Block(text[at : match.start()], _seconds(match)))
        at = match.end()
    pieces.append(replace(block, text=text[at:]))
    for piece in pieces:
        *others, last = piece.text.split("\n\n")
        yield from (Block(other.strip(), AFTER_ITEM_SECONDS) for other in others if other.strip())
        if last.strip() or piece is not pieces[-1]:
            yield replace(piece, text=last.strip())
