"""What Kokoro reads: its alphabet of sounds, and a sentence written in it. Pure but for the phonemizer it is given.

The ids are those of the model's own configuration (hexgrad/Kokoro-82M, config.json, Apache-2.0). It was trained on
phonemes in which a diphthong or an affricate is one letter; espeak-ng writes two, joined by `^`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

LONGEST = 510  # sounds in one pass: the model's positions, less its two ends
IDS: dict[str, int] = {
    ";": 1,
    ":": 2,
    ",": 3,
    ".": 4,
    "!": 5,
    "?": 6,
    "—": 9,
    "…": 10,
    '"': 11,
    "(": 12,
    ")": 13,
    "“": 14,
    "”": 15,
    " ": 16,
    "\u0303": 17,
    "ʣ": 18,
    "ʥ": 19,
    "ʦ": 20,
    "ʨ": 21,
    "ᵝ": 22,
    "ꭧ": 23,
    "A": 24,
    "I": 25,
    "O": 31,
    "Q": 33,
    "S": 35,
    "T": 36,
    "W": 39,
    "Y": 41,
    "ᵊ": 42,
    "a": 43,
    "b": 44,
    "c": 45,
    "d": 46,
    "e": 47,
    "f": 48,
    "h": 50,
    "i": 51,
    "j": 52,
    "k": 53,
    "l": 54,
    "m": 55,
    "n": 56,
    "o": 57,
    "p": 58,
    "q": 59,
    "r": 60,
    "s": 61,
    "t": 62,
    "u": 63,
    "v": 64,
    "w": 65,
    "x": 66,
    "y": 67,
    "z": 68,
    "ɑ": 69,
    "ɐ": 70,
    "ɒ": 71,
    "æ": 72,
    "β": 75,
    "ɔ": 76,
    "ɕ": 77,
    "ç": 78,
    "ɖ": 80,
    "ð": 81,
    "ʤ": 82,
    "ə": 83,
    "ɚ": 85,
    "ɛ": 86,
    "ɜ": 87,
    "ɟ": 90,
    "ɡ": 92,
    "ɥ": 99,
    "ɨ": 101,
    "ɪ": 102,
    "ʝ": 103,
    "ɯ": 110,
    "ɰ": 111,
    "ŋ": 112,
    "ɳ": 113,
    "ɲ": 114,
    "ɴ": 115,
    "ø": 116,
    "ɸ": 118,
    "θ": 119,
    "œ": 120,
    "ɹ": 123,
    "ɾ": 125,
    "ɻ": 126,
    "ʁ": 128,
    "ɽ": 129,
    "ʂ": 130,
    "ʃ": 131,
    "ʈ": 132,
    "ʧ": 133,
    "ʊ": 135,
    "ʋ": 136,
    "ʌ": 138,
    "ɣ": 139,
    "ɤ": 140,
    "χ": 142,
    "ʎ": 143,
    "ʒ": 147,
    "ʔ": 148,
    "ˈ": 156,
    "ˌ": 157,
    "ː": 158,
    "ʰ": 162,
    "ʲ": 164,
    "↓": 169,
    "→": 171,
    "↗": 172,
    "↘": 173,
    "ᵻ": 177,
}
_ONE_SOUND = {
    "a^ɪ": "I", "a^ʊ": "W", "e^ɪ": "A", "o^ʊ": "O", "ə^ʊ": "Q", "ɔ^ɪ": "Y",
    "d^ʒ": "ʤ", "t^ʃ": "ʧ", "d^z": "ʣ", "t^s": "ʦ",
}  # fmt: skip
# English as the model heard it: no length marks, r and the flap by letters of their own.
_ENGLISH = {
    "ə^l": "ᵊl", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɚ": "əɹ", "ɐ": "ə", "r": "ɹ", "ɾ": "T", "ʔ": "t", "x": "k", "ɬ": "l",
    "ɪə": "iə", "ː": "",
}  # fmt: skip
ESPEAK_VOICES = {"es": "es", "en": "en-us"}
_MARKS = re.compile(r"([;:,.!?—…\"()“”¿¡]+)")
_KEPT_MARKS = re.compile(r"[¿¡]")

Phonemes = Callable[[Sequence[str], str], list[str]]


@dataclass(frozen=True, slots=True)
class Sounds:
    """A sentence in the model's alphabet. written: its letters, all of them in `IDS`; words apart by spaces, marks at
    the end of the word before. words: the words as they were given."""

    written: str
    words: tuple[str, ...]

    @property
    def ids(self) -> list[int]:
        return [IDS[letter] for letter in self.written]


def sounds_of(text: str, language: str, phonemes: Phonemes, dialect: str | None = None) -> Sounds:
    """dialect: espeak-ng's name of a variety (`es-419`), where the language's own is not meant."""
    pieces = _MARKS.split(text)
    spoken = [piece.strip() for piece in pieces[0::2]]
    marks = [_KEPT_MARKS.sub("", mark) for mark in pieces[1::2]]
    heard = iter(phonemes([one for one in spoken if one], dialect or ESPEAK_VOICES[language]))
    written = ""
    for place, one in enumerate(spoken):
        letters = _letters(next(heard), language) if one else ""
        if letters:
            written += (" " if written else "") + letters
        if written and place < len(marks):
            written += marks[place]
    return Sounds("".join(letter for letter in written if letter in IDS), tuple(_words(text)))


def _letters(ipa: str, language: str) -> str:
    for old, new in _ONE_SOUND.items():
        ipa = ipa.replace(old, new)
    if language == "en":
        for old, new in _ENGLISH.items():
            ipa = ipa.replace(old, new)
        ipa = re.sub(r"(\S)\u0329", r"ᵊ\1", ipa)  # a syllable that is a consonant
    return ipa.replace("^", "").replace("-", "").replace("_", "")


def _words(text: str) -> list[str]:
    return [word for word in (_MARKS.sub("", one) for one in text.split()) if word]
