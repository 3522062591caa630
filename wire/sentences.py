"""Where sentences end, in prose that is there and in Markdown that is still being written. Pure.

A dot is not always an end ("Sr. Gil", "3.5", "EE. UU.", "e.g. this"): what stands before and after it decides. Every
decision looks at a bounded piece of text, so that the cost grows with the text and no faster.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

LONGEST_CHARS = 600  # a stream waits no longer than this for a sentence to end
SHORT_CHARS = 12  # "Sí." goes with the next sentence, where there is one already
WORD_CHARS = 14  # how far before a dot its word is looked for

_END = r"(?<![.!?…])[.!?…]++[\"'”’»)\]*_~]*+(?=\s)"
_ENDS = re.compile(_END)
_EVENTS = re.compile(rf"\n|{_END}")
_NOT_SPACE = re.compile(r"\S")
_WORD_BEFORE = re.compile(r"[\w.ªº]+\Z")
_WORD_AFTER = re.compile(r"\w+")
_CUTS = re.compile(r"[,;:]\s+|\s+")
_OPENING = "¿¡\"'“‘«([*_`#@$€£+"  # a sentence may begin with these

# They never end a sentence by themselves.
_GO_ON = frozenset(
    "sr sra srta sres sras dr dra dres dª dña dn prof profa lic gral sto sta avda avd av ctra pza "  # noqa: SIM905
    "ej e.g i.e vs cf mr mrs ms messrs st mt ft rev hon gen col capt sgt lt approx dept ref aprox "
    "máx mín dpto depto ntra excmo ilmo".split()
)
# Nor do these before a number.
_BEFORE_NUMBERS = frozenset(
    "no nos nº núm núms num art arts pág págs pag p pp fig figs vol cap caps tel ext sec ch c "  # noqa: SIM905
    "jan feb apr aug sept sep oct nov dec ene abr ago dic".split()
)
# After "U.S." or "plan B.", where a capital tells nothing: words that begin sentences.
_BEGINNERS = frozenset(
    "the we it he she they this that these those there in on at but and so if when what why how "  # noqa: SIM905
    "el la los las lo un una en pero y si cuando qué no por para con se es son hay su este esta eso también luego "
    "entonces después ahora".split()
)
_LETTERS = re.compile(r"[^\W\d_a-z]|\w(?:\.\w)+")
_DOUBLED = re.compile(r"([A-Z])\1")


def cut_sentences(prose: str) -> list[str]:
    """The sentences of a text without Markdown, in order, stripped; what lies between them is white space."""
    found, begin = [], 0
    for match in _ENDS.finditer(prose):
        if _is_end(prose, match.start(), match.end(), final=True):
            found.append(prose[begin : match.end()].strip())
            begin = match.end()
    found.append(prose[begin:].strip())
    return [sentence for sentence in found if sentence]


def _is_end(text: str, mark: int, end: int, *, final: bool) -> bool | None:
    """Whether the signs in [mark, end) end a sentence; None while too little follows to tell."""
    following = _NOT_SPACE.search(text, end)
    if following is None:
        return True if final else None
    after = following.group()
    if after.islower() or after in ",;:)]}»%&/=<>|—–-":
        return "\n" in text[end : following.start()] and after == "-"
    if text[mark] != "." or text[mark + 1 : mark + 2] in (".", "…"):
        return True
    line_begins = text.rfind("\n", 0, mark) + 1
    before = _WORD_BEFORE.search(text, max(line_begins, mark - WORD_CHARS), mark)
    if before is None:
        return True
    word = before.group()
    begins_line = not text[max(line_begins, before.start() - 4) : before.start()].strip()
    if (
        word.lower() in _GO_ON
        or (word.isdigit() and begins_line)
        or (word.lower() in _BEFORE_NUMBERS and (after.isdigit() or after in "+("))
    ):
        return False
    if not _LETTERS.fullmatch(word) and not _DOUBLED.fullmatch(word):
        return True
    return _begins_one(text, following.start(), doubled=len(word) == 2, final=final)


def _begins_one(text: str, at: int, *, doubled: bool, final: bool) -> bool | None:
    """Whether a sentence begins here, after an abbreviation made of letters."""
    word = _WORD_AFTER.match(text, at)
    if word is None:
        return text[at] in _OPENING
    if word.end() == len(text) and not final:
        return None
    if doubled:
        return not _DOUBLED.fullmatch(word.group())
    return word.group().lower() in _BEGINNERS


Kind = Literal["plain", "block", "heading", "table", "blank", "fence"]
_LINE = re.compile(
    r"[ \t]*(?:(?P<blank>\n)|(?P<table>\|)|(?P<fence>`{3}|~{3})|(?P<heading>\#)"
    r"|(?P<block>>|--|[-*+•][ \t]|\d{1,9}[.)][ \t]))"
)
_MAY_BECOME = re.compile(r"[ \t]*(?:[-*+•]|`{1,2}|~{1,2}|\d{1,9}[.)]?)?\Z")
LINE_CHARS = 80  # so much of a line tells what kind it is of


def _kind(text: str, at: int, *, final: bool) -> Kind | None:
    """What kind of line begins here; None while too little of it is there to tell."""
    line = text[at : at + LINE_CHARS]
    whole = final or len(line) == LINE_CHARS or "\n" in line
    match = _LINE.match(line)
    kind: Kind = match.lastgroup if match is not None else "plain"  # type: ignore[assignment]  # groups bear their names
    if match is None and not whole and _MAY_BECOME.match(line):
        return None
    if kind != "fence" or match is None:
        return kind
    if not whole:
        return None  # `` ```code``` `` in one line is not a block
    sign = line[match.end() - 1]
    return "plain" if sign == "`" and sign in line[match.end() :].split("\n")[0].lstrip(sign) else "fence"


def _parted(before: Kind | None, line: Kind) -> bool:
    """Whether what stands before this line has ended."""
    return (
        line in ("blank", "block", "heading", "fence")
        or before == "heading"
        or (line == "table") != (before == "table")
    )


@dataclass(slots=True)
class _Fence:
    """A fenced code block that is open. hopeless: what is left of the line at hand cannot close it."""

    sign: str
    length: int
    hopeless: bool

    def closed_by(self, line: str) -> bool:
        signs = line.strip()
        fits = len(line) <= LINE_CHARS and len(signs) >= self.length
        return fits and not self.hopeless and not signs.strip(self.sign)


class SentenceStream:
    """A text in Markdown that is still being written, as the sentences that are finished.

    What it gives, put together, is the text, whatever pieces it came in, but for white space, and for fenced code: of
    that the fences are given and the code is not. Headings, list items and tables end where their lines do.
    """

    def __init__(self) -> None:
        self._text = ""
        self._begin = 0  # of the sentence at hand
        self._at = 0  # what lies before is looked through
        self._kind: Kind | None = None  # of the line at hand; None at its beginning
        self._before: Kind | None = None  # of the line before
        self._fence: _Fence | None = None

    def feed(self, piece: str) -> list[str]:
        """The sentences that this piece completes."""
        self._text += piece
        found = _joined(self._sentences(final=False))
        self._text = self._text[self._begin :]
        self._at -= self._begin
        self._begin = 0
        return found

    def finish(self) -> list[str]:
        """What is left. Nothing is fed after it."""
        return _joined([*self._sentences(final=True), self._cut(len(self._text))])

    def _sentences(self, final: bool) -> Iterator[str]:
        going = True
        while going:
            if self._fence is not None:
                going = self._skip_code(self._fence, final)
            elif self._kind is None:
                kind = _kind(self._text, self._at, final=final)
                going = kind is not None and (self._at < len(self._text) or not final)
                if kind is not None:
                    yield from self._begin_line(kind)
            else:
                cut = self._next_cut(final)
                going = cut is not None
                if cut:
                    yield self._cut(cut)

    def _cut(self, at: int) -> str:
        sentence = self._text[self._begin : at]
        self._begin, self._at = at, max(self._at, at)
        return sentence

    def _begin_line(self, kind: Kind) -> Iterator[str]:
        if _parted(self._before, kind):
            yield self._cut(self._at)
        self._kind = kind
        if kind == "fence":
            line = self._text[self._at : self._at + LINE_CHARS]
            signs = line.lstrip(" \t")
            length = len(signs) - len(signs.lstrip(signs[0]))
            newline = line.find("\n")
            self._fence = _Fence(signs[0], length, hopeless=newline < 0)
            self._begin = self._at = self._at + (newline + 1 or len(line))
            yield f"{3 * signs[0]}\n{3 * signs[0]}\n"

    def _skip_code(self, fence: _Fence, final: bool) -> bool:
        """Whether the block's end was found."""
        while (newline := self._text.find("\n", self._at)) >= 0:
            closed = fence.closed_by(self._text[self._at : newline])
            self._begin = self._at = newline + 1
            fence.hopeless = False
            if closed:
                self._fence = self._kind = self._before = None
                return True
        fence.hopeless = fence.hopeless or len(self._text) - self._at > LINE_CHARS
        if fence.hopeless or final:
            self._begin = self._at = len(self._text)
        return False

    def _next_cut(self, final: bool) -> int | None:
        """Where to cut next; 0: nowhere yet, but look on; None: more text is needed."""
        # One more: whether white space follows tells an end. What ends later is cut at a clause before.
        event = _EVENTS.search(self._text, self._at, self._begin + LONGEST_CHARS + 1)
        if (len(self._text) if event is None else event.end()) - self._begin > LONGEST_CHARS:
            return self._clause()
        if event is None:
            return None
        if event.group() == "\n":
            self._at, self._kind, self._before = event.end(), None, self._kind
            return 0
        cut = self._end(event.start(), event.end(), final)
        if cut is None:
            return None
        if cut and self._text[cut - 1] == "\n":
            self._kind, self._before = None, self._kind
        self._at = cut or event.end()
        return cut

    def _end(self, mark: int, end: int, final: bool) -> int | None:
        """Where the next sentence begins, if this one ends with the signs in [mark, end); 0 if it does not."""
        text, begin = self._text, self._begin
        in_code = text.count("`", begin, mark) % 2
        in_label = text.rfind("[", begin, mark) > text.rfind("]", begin, mark)
        if self._kind == "table" or in_code or in_label:
            return 0
        ends = _is_end(text, mark, end, final=final or len(text) - end > LONGEST_CHARS)
        if not ends:
            return None if ends is None else 0
        following = _NOT_SPACE.search(text, end)
        reach = len(text) if following is None else following.start()
        return text.find("\n", end, reach) + 1 or reach

    def _clause(self) -> int:
        """Where to cut a sentence that is too long: after a clause or a word in its second half, or just there."""
        end = self._begin + LONGEST_CHARS
        cuts = list(_CUTS.finditer(self._text, self._begin + LONGEST_CHARS // 2, end))
        best = [cut for cut in cuts if cut.group()[0] in ",;:"] or cuts
        return best[-1].end() if best else end


def _joined(found: Iterable[str]) -> list[str]:
    """Very short sentences put together with the next one; no empty ones."""
    joined: list[str] = []
    for sentence in found:
        if joined and len(joined[-1].strip()) < SHORT_CHARS:
            joined[-1] += sentence
        else:
            joined.append(sentence)
    return [sentence for sentence in joined if sentence.strip()]
