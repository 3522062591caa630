"""The characters of a text that Spanish and English can be read from, in one form each. Pure."""

from __future__ import annotations

import re
import unicodedata

KEPT_BELOW = 0x3000  # what lies above is worked out each time: nobody's text fills this table

_SAME = {
    **dict.fromkeys("“”„‟«»‹›〝〞", '"'),
    **dict.fromkeys("‘’‚‛`´ʼ′", "'"),
    **dict.fromkeys("‐‑‒−﹣", "-"),
    **dict.fromkeys("–—―⸺", "–"),
    **dict.fromkeys("▪●◦‣○■□◆⁃∙", "•"),
    **dict.fromkeys("⇒➔➜➡⟶", "→"),
    **dict.fromkeys("⁄∕", "/"),
    **dict.fromkeys("。｡", ". "),
    **dict.fromkeys("、､，", ", "),
    "\u2028": "\n",
    "\u2029": "\n\n",
    "\x85": "\n",
    "\t": "\t",
    "\n": "\n",
    "`": "`",  # Markdown's
    "µ": "μ",
    "ſ": "s",  # these three are matched as s and i where case does not count, and stand in no table
    "ı": "i",
    "İ": "I",
    "℃": "°C",
    "℉": "°F",
    "℮": " ",
    "№": "n.º ",
    "…": "…",
    "°": "°",
    "ª": "ª",
    "º": "º",
    "™": "",
    "®": "",
    "©": "",
}
_GREEK = "αβγδεζηθικλμνξοπρσςτυφχψωΓΔΘΛΞΠΣΦΨΩ"
_KEPT_SIGNS = set("¹²³⁴⁵⁶⁷⁸⁹⁰½⅓⅔¼¾⅕⅛⅜⅝⅞€£¥¢$+<=>|~^×÷±≈≠≤≥√∞‰§¿¡·•→" + _GREEK)
_GROUPED = re.compile(r"(?<=\d)[\u00a0\u202f\u2009](?=\d{3}(?!\d))")  # 1 200 000, as it is typeset


class _Readable(dict[int, str]):
    """For str.translate: what a character is read as. White space where a word of another script was."""

    def __missing__(self, code: int) -> str:
        read = _read(chr(code))
        if code < KEPT_BELOW:
            self[code] = read
        return read


def _read(char: str) -> str:
    if char in _SAME:
        return _SAME[char]
    if char in _KEPT_SIGNS or (char.isascii() and char.isprintable()):
        return char
    category = unicodedata.category(char)
    if category == "Nd":
        return str(unicodedata.digit(char))
    if category[0] == "Z":
        return " "
    if category in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return " " if category == "Cc" else ""
    if category[0] == "M" or category in ("Sk", "Lm"):
        return ""
    if category[0] == "L" and unicodedata.name(char, "").startswith("LATIN"):
        return char
    plain = unicodedata.normalize("NFKC", char)
    # Full-width and mathematical letters. Not: signs that stand for whole words.
    return plain if plain.isascii() and plain.isprintable() and len(plain) == 1 else " "


_READABLE = _Readable()


def readable(text: str) -> str:
    """Without what cannot be read (emoji, control characters, other scripts, lone surrogates), in composed form."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _GROUPED.sub("", unicodedata.normalize("NFC", text)).translate(_READABLE)
