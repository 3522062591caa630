"""A caller's text as what is spoken, sentence by sentence. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from services_node.tts_server.text.characters import readable
from services_node.tts_server.text.english import English
from services_node.tts_server.text.languages import languages as languages_of
from services_node.tts_server.text.markup import LEFT_OUT, LONGEST_PAUSE_SECONDS, Block, blocks
from services_node.tts_server.text.spanish import Spanish
from services_node.tts_server.text.tongue import Tongue
from wire.sentences import cut_sentences

LONGEST_SILENCE_SECONDS = 60.0  # all pauses of a text together: what is beyond is not kept silent
LONGEST_SOURCE = 200  # characters of a caller's sentence that stay together
LONGEST_SPOKEN = 250  # characters of a segment
CODE_BLOCK: Mapping[str, str] = {"es": "Bloque de código omitido.", "en": "Code block omitted."}

_TONGUES: Mapping[str, Tongue] = {"es": Spanish(), "en": English()}
_WORD = re.compile(r"[^\W\d_]")
_CLAUSE_ENDS = re.compile(r"[,;:…](?=\s)")


class NothingToSay(ValueError):
    """Nothing of the text can be spoken."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A sentence, or a clause of a very long one.

    text: as it is spoken: words and . , ; : ? ! … alone, where it was to be normalised. language: `es` or `en`.
    source: the piece of the caller's text it was made from (its Markdown is gone). pause_seconds: silence after it,
    beyond what the voice leaves itself.
    """

    text: str
    language: str
    source: str
    pause_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Sentence:
    source: str
    pause_seconds: float
    code: bool = False


def read_text(
    text: str, *, language: str | None = None, default_language: str = "es", normalise: bool = True
) -> list[Segment]:
    """What is spoken of a text, in order.

    language: None has it told for each sentence. normalise: without it signs and digits are left as they are, but
    Markdown, tags and what cannot be read still go. Raises NothingToSay.
    """
    sentences = list(_sentences(blocks(readable(text))))
    languages = (
        [language] * len(sentences) if language else languages_of([each.source for each in sentences], default_language)
    )
    found: list[Segment] = []
    for sentence, spoken_in in zip(sentences, languages, strict=True):
        pieces = list(_spoken(sentence, spoken_in, normalise))
        if pieces:
            found += [Segment(piece, spoken_in, sentence.source) for piece in pieces]
        if found and sentence.pause_seconds:
            found[-1] = replace(found[-1], pause_seconds=_longer(found[-1], sentence, bool(pieces)))
    left = LONGEST_SILENCE_SECONDS
    for place, segment in enumerate(found):
        if segment.pause_seconds > left:
            found[place] = replace(segment, pause_seconds=left)
        left -= found[place].pause_seconds
    if not found:
        raise NothingToSay("nothing of this text can be spoken")
    return found


def _longer(segment: Segment, sentence: _Sentence, spoken: bool) -> float:
    """A pause that stands alone adds to the one before it; a paragraph of which nothing is spoken adds none."""
    if sentence.source or spoken:
        return max(segment.pause_seconds, sentence.pause_seconds)
    return min(segment.pause_seconds + sentence.pause_seconds, LONGEST_PAUSE_SECONDS)


def _sentences(found: Sequence[Block]) -> Iterator[_Sentence]:
    for block in found:
        pause = block.pause_seconds
        if block.code:
            yield _Sentence("", pause, code=True)
            continue
        pieces = [piece for sentence in cut_sentences(block.text) for piece in _cut(sentence, LONGEST_SOURCE)]
        if not pieces and pause:
            yield _Sentence("", pause)
        for number, piece in enumerate(pieces, 1):
            yield _Sentence(piece, pause if number == len(pieces) else 0.0)


def _spoken(sentence: _Sentence, language: str, normalise: bool) -> Iterator[str]:
    tongue = _TONGUES.get(language[:2].lower(), _TONGUES["es"])
    if sentence.code:
        yield CODE_BLOCK[tongue.language]
        return
    if not normalise:
        plain = sentence.source.replace(LEFT_OUT, tongue.words["code"])
        if _WORD.search(plain) or any(char.isdigit() for char in plain):
            yield from _cut(re.sub(r"\s+", " ", plain), LONGEST_SPOKEN)
        return
    spoken = tongue.normalised(sentence.source)
    if spoken:
        yield from _cut(spoken, LONGEST_SPOKEN)


def _cut(sentence: str, longest: int) -> list[str]:
    """In pieces of at most so many characters: at the ends of clauses, else between words, else anywhere."""
    pieces, begin = [], 0
    while len(sentence) - begin > longest:
        ends = [match.end() for match in _CLAUSE_ENDS.finditer(sentence, begin + longest // 3, begin + longest)]
        space = sentence.rfind(" ", begin + 1, begin + longest + 1)
        cut = ends[-1] if ends else space if space > begin else begin + longest
        pieces.append(sentence[begin:cut].strip())
        begin = cut
    pieces.append(sentence[begin:].strip())
    return [piece for piece in pieces if piece]
