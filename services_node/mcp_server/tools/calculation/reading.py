"""From text to tokens: signs made one, numbers with either separator, dates, phrases of both languages."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Literal

from services_node.mcp_server.tools.calculation import calendar
from services_node.mcp_server.tools.calculation.errors import CalculationFailed, NotUnderstood
from services_node.mcp_server.tools.calculation.numbers import MAX_DIGITS, bounded, too_large
from services_node.mcp_server.tools.calculation.vocabulary import (
    FUNCTION_PHRASES,
    LONGEST_PHRASE,
    MONTHS,
    PHRASES,
)

Kind = Literal["number", "day", "time", "word", "sign", "end"]


@dataclass(frozen=True, slots=True)
class Token:
    """text: as written, but for signs. meaning: the operator a sign or phrase stands for, "" for one that says nothing,
    None for any other word. function: the function it names. value: of a number (a time of day: in seconds). day: of a
    date. close: nothing stands between it and the token before."""

    kind: Kind
    text: str
    meaning: str | None = None
    function: str | None = None
    value: Fraction = Fraction(0)
    day: calendar.Day | None = None
    close: bool = False

    @property
    def folded(self) -> str:
        return folded(self.text)


_SIGNS = str.maketrans({
    "×": "*", "⋅": "*", "·": "*", "∙": "*", "∗": "*", "÷": "/", "∕": "/", "⁄": "/", "−": "-", "–": "-", "—": "-",
    "º": "°", "√": " sqrt ", "→": " to ", "⟶": " to ", "²": "^2", "³": "^3", "“": " ", "”": " ", '"': " ", "`": " ",
    "’": "'", "¿": " ", "¡": " ", "℃": "°C", "℉": "°F", "\u00a0": " ", "½": "(1/2)", "¼": "(1/4)", "¾": "(3/4)",
    "‰": "/1000", "μ": "µ",
})  # fmt: skip
_LATEX = (
    (r"\\(times|cdot|ast)(?![a-zA-Z])", "*"),
    (r"\\div(?![a-zA-Z])", "/"), (r"\\(left|right|displaystyle)(?![a-zA-Z])", ""),
    (r"\\[,;:! ]|~", " "), (r"\\[()\[\]]", " "), (r"\\%", "%"), (r"\\[dt]?frac", " frac "), (r"\\(text|mathrm)", " "),
    (r"\^\{?\\circ\}?", "°"), (r"\\([a-zA-Z]+)", r" \1 "), (r"\{", "("), (r"\}", ")"),
)  # fmt: skip
_SPACED_GROUPS = re.compile(r"(?<![\d.,])(\d{1,3})((?:[\u2009\u202f]\d{3})+)(?!\d)")
_ASSIGNED = re.compile(r"^\s*[^\W\d]\w*\s*=(?!=)")
_TOKEN = re.compile(
    r"(?P<iso>\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2})?)?(?![\d-]))"
    r"|(?P<slashed>\d{1,2}/\d{1,2}/\d{4}(?!\d))"
    r"|(?P<time>\d{1,2}:\d{2}(?::\d{2})?(?![\d:]))"
    r"|(?P<hex>0[xX][0-9a-fA-F]+(?!\w))"
    r"|(?P<number>(?:\d+(?:[.,'_]\d+)*|\.\d+)(?:[eE][+-]?\d+(?![\w.]))?)"
    r"|(?P<word>°[a-zA-Z]?|[^\W\d_]+(?:_[^\W\d_]+)*\d{0,2}(?!\d)|[$€£])"
    r"|(?P<sign>\*\*|//|->|[-+*/%^()\[\],;!])"
    r"|(?P<space>\s+)"
)
_EN_GROUPS = re.compile(r"[1-9]\d{0,2}(,\d{3})+")
_ES_GROUPS = re.compile(r"[1-9]\d{0,2}(\.\d{3})+")
_EITHER = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")
_CALLED = {phrase[-1] for phrase in FUNCTION_PHRASES}
_LISTED = frozenset(
    "sum suma max maximum maximo min minimum minimo mean average media promedio median mediana gcd mcd lcm mcm product "  # noqa: SIM905
    "producto".split()
)


def folded(text: str) -> str:
    """In small letters, without accents."""
    return "".join(sign for sign in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(sign))


def read(text: str) -> list[Token]:
    """The tokens of an expression, an `end` last. Raises CalculationFailed."""
    tokens = _phrased(_dated(_lexed(_plain(text))))
    while len(tokens) > 1 and tokens[-1].meaning == "":
        tokens.pop()
    return [*tokens, Token("end", "")]


def _plain(text: str) -> str:
    """One sign for each thing, and without what surrounds an expression: `What is …?`, `x = …`, `… =`, LaTeX."""
    plain = _SPACED_GROUPS.sub(lambda found: re.sub(r"\D", "", found[0]), text.translate(_SIGNS)).strip()
    if plain.startswith("$") and plain.endswith("$"):
        plain = plain.strip("$")
    for pattern, replacement in _LATEX:
        plain = re.sub(pattern, replacement, plain)
    plain = re.sub(r"(?i)\b(what|that|it)'s\b", "what is", plain)
    plain = _ASSIGNED.sub("", plain).strip(" \t\n?.:=")
    plain = re.sub(r"\s*=\s*", " = ", plain)
    if " = " in plain:
        left, right = plain.split(" = ", 1)
        if not re.fullmatch(r"[\d.,\s?]+", right) or re.search(r"(?i)\d[xyz]\b|\b[xyz] *[-+=^]|[-+] *[xyz]\b", left):
            raise NotUnderstood("An equation is not solved here: give one expression to work out.")
        plain = left
    if not plain:
        raise NotUnderstood("There is nothing to calculate.")
    return plain


def _lexed(text: str) -> list[Token]:
    found: list[tuple[str, str, bool]] = []
    position, close, semicolons = 0, False, ";" in text
    calls: list[bool] = []
    listing = False
    while position < len(text):
        matched = _TOKEN.match(text, position)
        if matched is None:
            raise NotUnderstood(f"`{text[position : position + 20]}` is not understood.")
        kind, word = str(matched.lastgroup), matched[0]
        last = found[-1] if found else ("", "", False)
        if kind == "number" and "," in word and (listing or (calls and calls[-1])) and not semicolons:
            if re.fullmatch(r"\d{1,3}(,\d{3})+\.\d+", word):
                raise CalculationFailed(
                    f"`{word}` in a list can be read in two ways: write numbers in a list without thousands separators."
                )
            word = word.split(",", 1)[0]
        elif kind == "word" and re.fullmatch(r"[xX]\d+", word) and last[0] in ("number", "hex"):
            kind, word = "sign", word[0]
        if kind == "sign" and word in "([":
            calls.append(word == "[" or (last[0] == "word" and folded(last[1]) in _CALLED))
        elif kind == "sign" and word in ")]" and calls:
            calls.pop()
        elif kind == "word" and folded(word) in _LISTED and last[0] != "number":
            listing = listing or not text[position + len(word) :].lstrip().startswith(("(", "["))
        position += len(word)
        if kind != "space":
            found.append((kind, word, close))
        close = kind != "space"
    styles = {style for kind, word, _ in found if kind == "number" and (style := _style(word))}
    return [_token(kind, word, close, styles) for kind, word, close in found]


def _token(kind: str, word: str, close: bool, styles: set[str]) -> Token:
    match kind:
        case "iso":
            return Token("day", word, day=calendar.read_iso(word), close=close)
        case "slashed":
            return Token("day", word, day=calendar.read_slashed(word), close=close)
        case "time":
            parts = [int(part) for part in word.split(":")]
            if parts[1] > 59 or parts[-1] > 59:
                raise NotUnderstood(f"`{word}` is no time.")
            return Token("time", word, value=Fraction(sum(p * s for p, s in zip(parts, (3600, 60, 1), strict=False))))
        case "hex":
            return Token("number", word, value=_written(Fraction(int(word, 16))), close=close)
        case "number":
            return Token("number", word, value=read_number(word, styles), close=close)
        case "word":
            return Token("word", word, close=close)
    return Token("sign", word, meaning={"**": "^", "->": "to", "x": "*", "X": "*"}.get(word, word), close=close)


def _style(word: str) -> str | None:
    """Which language's separators a number shows beyond doubt."""
    mantissa = re.split("[eE]", word)[0]
    points, commas = mantissa.count("."), mantissa.count(",")
    if points and commas:
        return "en" if mantissa.rindex(".") > mantissa.rindex(",") else "es"
    if points > 1 or commas > 1:
        return "es" if points else "en"
    if (points or commas) and not _EITHER.fullmatch(mantissa):
        return "en" if points else "es"
    return None


def read_number(word: str, styles: set[str]) -> Fraction:
    """A number with the separators of either language, where it is beyond doubt which.

    styles: what the other numbers of the expression show. A single point is the decimal one unless they are Spanish.
    Raises CalculationFailed for one that can be read in two ways, or in none.
    """
    mantissa, _, exponent = re.sub("['_]", "", word).replace("E", "e").partition("e")
    power = _power_of_ten(exponent, word)
    if _EITHER.fullmatch(mantissa):
        point = "." if "." in mantissa else ","
        if point == "," and len(styles) != 1:
            plain = mantissa.replace(",", "")
            raise CalculationFailed(
                f"`{mantissa}` can be read in two ways. Write {plain} or {mantissa.replace(',', '.')}, without a comma."
            )
        grouping = styles == {"en"} if point == "," else styles == {"es"}
        mantissa = mantissa.replace(point, "" if grouping else ".")
    else:
        mantissa = _without_groups(mantissa, word)
    return _written(Fraction(mantissa) * Fraction(10) ** power)


def _power_of_ten(exponent: str, word: str) -> int:
    """The whole of it is looked at: zeros in front may hide how large it is. Raises CalculationFailed."""
    try:
        power = int(exponent or 0)
    except ValueError:  # more digits than Python reads
        raise too_large() from None
    if abs(power) > MAX_DIGITS:
        raise CalculationFailed(f"`{word}` is out of bounds: numbers have at most {MAX_DIGITS} digits.")
    return power


def _written(value: Fraction) -> Fraction:
    """A number as it stands in the expression, within bounds like every result."""
    bounded(value)
    return value


def _without_groups(mantissa: str, word: str) -> str:
    for group, point, pattern in ((",", ".", _EN_GROUPS), (".", ",", _ES_GROUPS)):
        whole, _, decimals = mantissa.rpartition(point) if mantissa.count(point) == 1 else (mantissa, "", "")
        if point in mantissa and mantissa.count(point) > 1:
            continue
        if group not in mantissa:
            return f"{whole or 0}.{decimals or 0}" if point in mantissa else mantissa if mantissa.isdecimal() else word
        if pattern.fullmatch(whole) and group not in decimals:
            return f"{whole.replace(group, '')}.{decimals or 0}"
    raise CalculationFailed(f"`{word}` is not a number: write it without thousands separators.")


def _dated(tokens: list[Token]) -> list[Token]:
    """With dates in words (`27 November 2026`, `27 de noviembre de 2026`, `November 27, 2026`) made one token."""
    made: list[Token] = []
    position = 0
    while position < len(tokens):
        found = _date_at(tokens, position)
        made.append(found[0] if found else tokens[position])
        position = found[1] if found else position + 1
    return made


def _date_at(tokens: list[Token], start: int) -> tuple[Token, int] | None:
    ahead = tokens[start : start + 6]
    kept = [
        (index, token)
        for index, token in enumerate(ahead)
        if not (index and (token.folded in ("de", "del", "of", "the", "th", "st", "nd", "rd") or token.text == ","))
    ][:3]
    if len(kept) < 3:
        return None
    words = [token for _, token in kept]
    order = (0, 1) if words[0].kind == "number" else (1, 0)
    day, month, year = words[order[0]], words[order[1]], words[2]
    number = MONTHS.get(month.folded) if month.kind == "word" else None
    if number is None or day.kind != "number" or year.kind != "number":
        return None
    if not (re.fullmatch(r"\d{1,2}", day.text) and re.fullmatch(r"\d{4}", year.text)):
        return None
    made: date = calendar.made(int(year.text), number, int(day.text))
    return Token("day", made.isoformat(), day=made), start + kept[2][0] + 1


def _phrased(tokens: list[Token]) -> list[Token]:
    """With phrases made one token, the longest first."""
    made: list[Token] = []
    position = 0
    while position < len(tokens):
        length, token = _phrase_at(tokens, position)
        made.append(token)
        position += length
    return made


def _phrase_at(tokens: list[Token], start: int) -> tuple[int, Token]:
    first = tokens[start]
    if first.kind != "word":
        return 1, first
    words: list[str] = []
    for token in tokens[start : start + LONGEST_PHRASE]:
        if token.kind != "word":
            break
        words.append(token.folded)
    for length in range(len(words), 0, -1):
        phrase = tuple(words[:length])
        meaning, function = PHRASES.get(phrase), FUNCTION_PHRASES.get(phrase)
        if meaning is not None or function is not None:
            text = " ".join(token.text for token in tokens[start : start + length])
            return length, Token("word", text, meaning=meaning, function=function, close=first.close)
    return 1, first
