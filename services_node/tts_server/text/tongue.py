"""What is the same in both languages: the order in which signs become words, addresses, names of things, letters. Pure.

A language is a subclass. Each rule is a pattern and a method; a rule's words hold no digits or capitals' abbreviations
that a later rule would take again. Patterns are bounded or begin where a token begins, so that none is quadratic.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cache, lru_cache

from num2words import num2words

from services_node.tts_server.text.markup import LEFT_OUT

Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]

SPELLED_DIGITS = 10  # a number of so many digits without separators is an identifier
LONGEST_DIGITS = 60  # a longer one is told by its length
LONGEST_SEGMENT = 24  # of a URL's path that is read

NUMBER = r"(?<![\w.,])\d++(?:[.,]\d++)*+"  # 5, 1.200.000, 12,50, 3.11.2: what it is, is told later
LETTER = r"[^\W\d_]"

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")
_URL = re.compile(r"(?<![\w@])(?:https?://|ftp://|www\.)[^\s<>\"]++", re.IGNORECASE)
_DOMAIN = re.compile(
    r"(?<![\w@./-])(?:[a-z0-9][a-z0-9-]{0,62}\.){1,4}"
    r"(?:com|es|org|net|io|dev|ai|eu|edu|gob|gov|mx|ar|cl|pe|uk|info|app|local)(?::\d{1,5})?(?:/[^\s<>\"]*+)?(?![\w@])",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?<![\w@./-])(?:localhost|\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}(?:/[^\s<>\"]*+)?(?!\w)")
_PATH = re.compile(r"(?<![\w/.<)€$£%°])(?:~|\.{1,2})?/(?=\w)[\w./-]++")
_FILE = re.compile(
    r"(?<![\w.-])[\w-]{1,80}(?:\.[\w-]{1,20}){0,2}\.(?:py|js|ts|tsx|json|ya?ml|toml|md|txt|pdf|docx?|xlsx?|pptx?|csv|sql"
    r"|html?|css|sh|log|png|jpe?g|gif|svg|mp[34]|wav|zip|gz|tar|env|conf|cfg|ini|lock|xml|exe|rs|go|java|cpp|rb)(?!\w)"
)
_TAG = re.compile(r"(?<![\w#])#(?=[^\W\d])(\w{1,60})")
_MENTION = re.compile(r"(?<![\w@.])@(?=[^\W\d])(\w{1,60})")
_IP = re.compile(r"(?<![\w.,])\d{1,3}(?:\.\d{1,3}){3}(?![\w]|[.,]\d)")
_VERSION = re.compile(
    r"(?<![\w.,])[vV]?\d{1,4}(?:\.\d{1,4}){2,4}(?![\w]|[.,]\d)|(?<![\w.,])[vV]\d{1,4}(?:\.\d{1,4})?(?![\w.])"
)
_ISO_TIME = re.compile(r"(?<=\d{4}-\d\d-\d\d)T(?=\d\d:\d\d)")
_RANGE = re.compile(r"(?<=[\d%€$°])[ ]?[-–][ ]?(?=[$€£]?\d)")
_MINUS = re.compile(r"(?<![\w)\]%])-(?=[$€£]?\d)")
_NAMED_NUMBER = re.compile(r"(?<=[^\W\d_])-(?=\d)")  # COVID-19
_SPACED = re.compile(r"(?<![\w.,])[1-9]\d{0,2}(?: \d{3}){2,4}(?![\w]|[.,]\d| \d)")  # 1 200 000
_ACCOUNT = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: \d{4}){3,7}(?: \d{1,3})?(?!\w)")
_SERIAL = re.compile(r"(?<![\w-])\d{1,8}(?:-\d{1,8}){2,6}(?![\w-])")
_DIMENSIONS = re.compile(r"(?<=\d) ?x ?(?=\d)")
_THOUSANDS = re.compile(r"(?<=\d)k(?!\w)")
_RATIO = re.compile(r"(?<=\d):(?=\d)")
_LONG_NAME = re.compile(rf"(?<!\w)(?!Mc|Mac){LETTER}{{2,60}}(?!\w)")
_GREEK = re.compile("[αβγδεζηθικλμνξοπρσςτυφχψωΓΔΘΛΞΠΣΦΨΩ]")
_DIGIT = re.compile("[0-9]")
_VOWEL = re.compile(r"[aeiouáéíóú]")
_NUMBER = re.compile(NUMBER)
_ANY_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_CONSTANT = re.compile(r"(?<!\w)[A-Z]{2,40}(?:_[A-Z]{1,40}){1,8}(?!\w)")
_VARIABLE = re.compile(r"(?<!\w)\$\{?([A-Za-z_]\w{0,60})\}?")
_SNAKE = re.compile(r"(?<=\w)_+(?=\w)")
_CAMEL = re.compile(r"(?<=[a-záéíóúñ])(?=[A-ZÁÉÍÓÚÑ])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
_MIXED = re.compile(rf"(?<={LETTER})(?=\d)|(?<=\d)(?={LETTER})")
_INNER_DOT = re.compile(r"(?<=\w)\.(?=[a-záéíóúñ]{2})")
_COMPARED = re.compile(r"[<>!]=")
_COMPARISONS = {"<=": "≤", ">=": "≥", "!=": "≠"}
_CAPITALS = re.compile(r"(?<![\w'])[A-ZÁÉÍÓÚÑ]{2,12}(?:s(?!\w)|(?!\w))")
_WORD = re.compile(rf"{LETTER}+")
_ARROW = re.compile(r"[-=]+>|<[-=]+|→")
_PARTED = re.compile(r"\s[-–]+\s|–|\||[()\[\]{}•]+")
_UNSPEAKABLE = re.compile(r"[^\w\s.,;:?!…¿¡'-]|_|(?<![^\W\d_])['-]|['-](?![^\W\d_])")
_DOTS = re.compile(r"\.{2,}|…+\.*")
_SPACES = re.compile(r"\s+")
_SPACE_BEFORE = re.compile(r" (?=[.,;:?!…])")
_DOUBLED = re.compile(r"[,;:.](?: ?(?=[,;:.?!…]))")
_TWICE = re.compile(r"([?!…¿¡])(?:[ .,;:]?\1)+|(?<=[?!…])[.,;:]+")
_END = re.compile(r"[.!?…:;,\s\"')\]]*\Z")
_SUPERSCRIPT = re.compile(r"[¹⁴⁵⁶⁷⁸⁹⁰]")


class Tongue(ABC):
    """One language's rules. words: what signs and the parts of addresses are called, by the sign."""

    language: str
    words: Mapping[str, str]
    letters: Mapping[str, str]  # names of letters, where they are written; else the letters stand for themselves
    said_as_words: frozenset[str]  # acronyms
    fractions: Mapping[str, str]  # ½
    greek: Mapping[str, str]
    pronounceable: re.Pattern[str]

    def normalised(self, text: str) -> str:
        """A sentence as it is spoken: letters, spaces and . , ; : ? ! … ¿ ¡ ' - alone. Empty if nothing is."""
        end = _END.search(text[-40:])
        marks = end.group() if end else ""
        body = text[: len(text) - len(marks)].lstrip(".,;:) \t\n")
        body = self._without_shouting(body)
        for pattern, rule in _rules_of(self)[_DIGIT.search(body) is not None]:
            body = pattern.sub(rule, body)
        mark = next((mark for mark in marks if mark in "?!…"), "…" if marks.startswith("..") else marks.strip()[:1])
        return _tidy(body + (mark if mark in ".,;:?!…" else ""))

    @abstractmethod
    def number_rules(self) -> list[Rule]:
        """Dates, times, money, units: before plain numbers. They take nothing where there is no digit."""

    @abstractmethod
    def name_rules(self) -> list[Rule]:
        """Abbreviations, Roman numerals."""

    @abstractmethod
    def cardinal(self, number: int) -> str: ...

    @abstractmethod
    def decimal(self, token: str) -> tuple[str, str]:
        """The digits before and after the decimal sign of a token like 1.200,50, by the language's custom."""

    @abstractmethod
    def spoken_decimal(self, whole: str, rest: str, token: str) -> str: ...

    @abstractmethod
    def plain(self, match: re.Match[str]) -> str:
        """A number that no other rule took."""

    def spell(self, letters: str) -> str:
        return " ".join(self.letters.get(letter, letter) for letter in letters.lower())

    def digits(self, text: str) -> str:
        """One by one."""
        if len(text) > LONGEST_DIGITS:
            return self.words["digits"].format(self.cardinal(len(text)))
        return " ".join(self.cardinal(int(digit)) for digit in text)

    def number(self, token: str) -> str:
        """A token of digits, dots and commas in words."""
        if not token.isdecimal():
            whole, rest = self.decimal(token)
        else:
            whole, rest = token, ""
        if len(whole) >= SPELLED_DIGITS + 6 or (len(whole) > 1 and whole[0] == "0"):
            whole_words = self.digits(whole)
            return f"{whole_words} {self.words['.']} {self.digits(rest)}" if rest else whole_words
        if token.isdecimal() and len(token) >= SPELLED_DIGITS:
            return self.digits(token)
        return self.spoken_decimal(whole, rest, token) if rest else self.cardinal(int(whole))

    # What the common rules do.

    def address_rules(self) -> list[Rule]:
        return [
            (re.compile(LEFT_OUT), lambda _: f" {self.words['code']} "),
            (_EMAIL, self._email),
            (_URL, self._url),
            (_HOST, self._url),
            (_DOMAIN, self._url),
            (_FILE, lambda m: self._dotted(m.group())),
            (_PATH, lambda m: self._path(m.group())),
            (_TAG, lambda m: f"{self.words['hashtag']} {m.group(1)}"),
            (_MENTION, lambda m: f"{self.words['@']} {m.group(1)}"),
            (_ISO_TIME, lambda _: " "),
            (_IP, lambda m: self._joined(m.group().split("."))),
            (_VARIABLE, lambda m: m.group(1).lower().replace("_", " ")),
            (_COMPARED, lambda m: _COMPARISONS[m.group()]),
            (_ARROW, lambda _: ", "),
        ]

    def plain_number_rules(self) -> list[Rule]:
        """The last two come after signs."""
        return [
            (_VERSION, self._version),
            (_THOUSANDS, lambda _: f" {self.words['k']}"),
            (_RATIO, lambda _: f" {self.words['to']} "),
            (_MIXED, lambda _: " "),
            (_NUMBER, self.plain),
        ]

    def word_rules(self) -> list[Rule]:
        return [
            (_CONSTANT, lambda m: m.group().lower().replace("_", " ")),
            (_SNAKE, lambda _: " "),
            (_LONG_NAME, lambda m: self._camel(m.group())),
            (_ANY_NUMBER, lambda m: self.number(m.group())),
            (_INNER_DOT, lambda _: f" {self.words['.']} "),
            (_CAPITALS, lambda m: self.acronym(m.group())),
            (_GREEK, lambda m: f" {self.greek.get(m.group().lower(), '')} "),
        ]

    def _between_numbers(self) -> list[Rule]:
        """What a hyphen before a digit is. After dates and telephone numbers, before things are counted."""
        return [
            (_NAMED_NUMBER, lambda _: " "),
            (_SPACED, lambda m: m.group().replace(" ", "")),
            (_ACCOUNT, lambda m: self._account(m.group())),
            (_SERIAL, lambda m: ", ".join(self.digits(group) for group in m.group().split("-"))),
            (_DIMENSIONS, lambda _: f" {self.words['×']} "),
            (_RANGE, self._range),
            (_MINUS, lambda _: f" {self.words['minus']} "),
        ]

    def _account(self, number: str) -> str:
        country, *groups = number[:2], number[2:4], *number[4:].split()
        return ", ".join([self.acronym(country), *(self.digits(group) for group in groups)])

    def sign_rules(self) -> list[Rule]:
        """Signs that are always words, and those that are only between two things."""
        return [
            (re.compile(r"[½⅓⅔¼¾⅕⅛⅜⅝⅞]"), self._fraction_sign),
            (re.compile(r"(?<=[\w)])[²³]"), lambda m: f" {self.words[m.group()]}"),
            (_SUPERSCRIPT, lambda _: " "),
            (re.compile(r"\+\+"), self._sign),
            (re.compile("[%‰&≈≠≤≥√∞±÷×§°€$£¥¢@]"), self._sign),
            (re.compile(r"(?<=[\w)])(?: (==?|[+*/<>^]) |(==?|[+*/<>^]))(?=[\w(+-])"), self._sign),
            (
                re.compile(r"(?<!\w)\+(?=\d)|(?<=\d)\+(?!\w)|(?<!\w)[~<>] ?(?=\d)|(?<!\w)#(?=\d)|(?<![^CcFf])#"),
                self._sign,
            ),
        ]

    def _sign(self, match: re.Match[str]) -> str:
        sign = match.group().strip()
        return f" {self.words['♯' if sign == '#' and not _before_digit(match) else sign]} "

    def _fraction_sign(self, match: re.Match[str]) -> str:
        after_number = match.start() > 0 and match.string[match.start() - 1].isdigit()
        spoken = self.fractions[match.group()]
        return f" {self.words['and']} {spoken.replace('un medio', 'medio')}" if after_number else f" {spoken}"

    def _range(self, match: re.Match[str]) -> str:
        spaced = match.group().startswith(" ") and match.group().endswith(" ")
        calculated = spaced and "=" in match.string
        return f" {self.words['minus' if calculated else 'to']} "

    def _version(self, match: re.Match[str]) -> str:
        token = match.group()
        if self._is_grouped(token):
            return token
        named = f"{self.words['version']} " if token[0] in "vV" else ""
        return named + f" {self.words['point']} ".join(self.number(group) for group in token.lstrip("vV").split("."))

    @staticmethod
    def _is_grouped(token: str) -> bool:
        """1.200.000 is one number, not a version."""
        first, *groups = token.split(".")
        return 1 <= len(first) <= 3 and first[0] not in "0vV" and all(len(group) == 3 for group in groups)

    def _joined(self, groups: list[str]) -> str:
        return f" {self.words['.']} ".join(self.number(group) for group in groups)

    def _email(self, match: re.Match[str]) -> str:
        name, _, host = match.group().rpartition("@")
        return f"{self._dotted(name)} {self.words['@']} {self._dotted(host)}"

    def _url(self, match: re.Match[str]) -> str:
        """The host, and as much of a short path as can be listened to; never what comes after a question mark."""
        whole = match.group()
        url = whole.rstrip(".,;:!?)]'\"*")
        address = re.split(r"[?#]", url.partition("://")[2] or url, maxsplit=1)[0]
        host, _, path = address.partition("/")
        host, _, port = host.partition(":")
        spoken = self._dotted(host.removeprefix("www.")[:80])
        if port.isdecimal():
            spoken += f" {self.words['port']} {self.number(port)}"
        segments = [segment for segment in path.split("/", 3) if segment]
        if len(segments) <= 2 and all(len(segment) <= LONGEST_SEGMENT for segment in segments):
            spoken += "".join(f" {self.words['/']} {self._dotted(segment)}" for segment in segments)
        return spoken + whole[len(url) :]

    def _path(self, path: str) -> str:
        segments = [segment for segment in path.split("/") if segment.strip(".~")]
        left_out = len(segments) > 4
        read = [*segments[:2], *segments[-1:]] if left_out else segments
        return f" {self.words['/']} ".join(self._dotted(segment[:60]) for segment in read)

    def _dotted(self, name: str) -> str:
        """A file's or host's name, or what stands before an @: its words, its dots called by their name."""
        spoken = [self._name(label) for label in name.split(".") if label]
        return f" {self.words['.']} ".join(spoken)

    def _name(self, label: str) -> str:
        parts = [self._camel(part) for part in re.split(r"[-_+%~]+", label) if part]
        return _ANY_NUMBER.sub(
            lambda m: f" {self.number(m.group())} ", " ".join(self._extension(p) for p in parts)
        ).strip()

    def _extension(self, part: str) -> str:
        """Letters without a vowel one by one: html, py; and etc, which is no abbreviation here."""
        lone = part.isalpha() and part.islower() and 1 < len(part) <= 5 and not _VOWEL.search(part)
        return self.spell_word(part) if lone or part == "etc" else part

    def spell_word(self, letters: str) -> str:
        return self.spell(letters)

    @staticmethod
    def _camel(word: str) -> str:
        return word if word.isupper() or word.islower() else _CAMEL.sub(" ", word)

    def acronym(self, word: str) -> str:
        """Read as a word where one can, and letter by letter where not."""
        plural = word[-1] == "s"
        letters = word[:-1] if plural else word
        if letters in self.said_as_words or (len(letters) >= 5 and self.pronounceable.fullmatch(letters.lower())):
            return letters.capitalize() + ("s" if plural else "")
        return self.spell_acronym(letters, plural=plural)

    def spell_acronym(self, letters: str, *, plural: bool) -> str:
        return self.spell(letters)

    def _without_shouting(self, text: str) -> str:
        """A sentence in capitals is no row of acronyms."""
        words = [word for word in _WORD.findall(text) if len(word) > 1]
        loud = sum(word.isupper() for word in words)
        return text.lower() if loud >= 3 and loud * 3 > len(words) * 2 else text


@cache
def _rules_of(tongue: Tongue) -> tuple[list[Rule], list[Rule]]:
    """For a sentence without digits, and for one with."""
    first, names, signs, last = tongue.address_rules(), tongue.name_rules(), tongue.sign_rules(), tongue.word_rules()
    numbers = tongue.number_rules()
    plain = tongue.plain_number_rules()
    return [*first, *names, *signs, *last], [*first, *numbers, *names, *plain[:-2], *signs, *plain[-2:], *last]


def _before_digit(match: re.Match[str]) -> bool:
    return match.string[match.end() : match.end() + 1].isdigit()


def _tidy(text: str) -> str:
    text = _PARTED.sub(", ", text)
    text = _DOTS.sub("…", text)
    text = _UNSPEAKABLE.sub(" ", text)
    text = _SPACE_BEFORE.sub("", _SPACES.sub(" ", text))
    text = _TWICE.sub(r"\1", _DOUBLED.sub("", text))
    text = _SPACES.sub(" ", text).lstrip(" .,;:!?…-'").rstrip(" ,-'")
    return text if _WORD.search(text) else ""


@lru_cache(maxsize=4096)
def in_words(number: int, language: str, kind: str = "cardinal") -> str:
    """num2words, which is slow enough to be remembered."""
    words: str = num2words(number, lang=language, to=kind)
    return words.replace(",", "")
