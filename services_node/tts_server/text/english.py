"""English: years, the decimal point, dates month first (or as they must be), abbreviations. Pure.

Where two readings are possible one is taken: 3/4/2026 is in March, 1984 is a year unless things are counted, 1,200 is
one number and so is 1.200, with three decimals.
"""

from __future__ import annotations

import re

from services_node.tts_server.text import english_words as lists
from services_node.tts_server.text.roman import roman_value
from services_node.tts_server.text.tongue import NUMBER, Rule, Tongue, in_words
from wire.dates import MONTHS

_MONTH = "|".join([*MONTHS["en"], *lists.SHORT_MONTHS])
_HALF = r"\s?([ap])\.?\s?m\b\.?"
_TIME = re.compile(
    rf"(?<![\w:.,])([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?(?![\w:]|[.,]\d)(?:{_HALF}|\s?(?:h|hrs|hours)\b)?",
    re.IGNORECASE,
)
_TIME_HALF = re.compile(rf"(?<![\w:.,])(0?\d|1[0-2])(?:[:.]([0-5]\d))?(){_HALF}", re.IGNORECASE)
_TIMES_BETWEEN = re.compile(r"(?<=\d:\d\d)\s?[-–]\s?(?=\d{1,2}:\d\d)|(?<=[ap]m)\s?[-–]\s?(?=\d)", re.IGNORECASE)
_ISO = re.compile(r"(?<![\w/.-])(\d{4})([-/])(\d{1,2})\2(\d{1,2})(?![\w/]|[.-]\d)")
_DATE = re.compile(r"(?<![\w/.-])(\d{1,2})([/-])(\d{1,2})\2(\d{4}|\d{2})(?![\w/]|[.-]\d)")
_MONTH_FIRST = re.compile(
    rf"(?<!\w)({_MONTH})\b\.?\s(\d{{1,2}})(?:st|nd|rd|th)?(?![\w:%$€/]|[.,]\d)(?:,?\s(\d{{4}})(?!\w|[.,]\d))?"
)
_DAY_FIRST = re.compile(
    rf"(?<![\w.,$€£])(?:[Tt]he\s)?(\d{{1,2}})(?:st|nd|rd|th)?\s(?:of\s)?({_MONTH})\b\.?(?:,?\s(\d{{4}})(?!\w|[.,]\d))?"
)
_MONTH_YEAR = re.compile(rf"(?<!\w)({_MONTH})\b\.?,?\s(\d{{4}})(?!\w|[.,]\d)")

_SIGN = "|".join(map(re.escape, sorted(lists.CURRENCIES, key=len, reverse=True)))
_MANY = r"(?:\s?(trillion|billion|million|thousand|hundred|bn|B|M|m|K|k)(?!\w))?"
_MONEY_BEFORE = re.compile(rf"(?<!\w)({_SIGN})\s?({NUMBER}){_MANY}")
_MONEY_AFTER = re.compile(rf"({NUMBER}){_MANY}\s?({_SIGN})(?!\w)")
_UNIT = "|".join(sorted(map(re.escape, lists.UNITS), key=len, reverse=True))
_MEASURE = re.compile(rf"({NUMBER})[\s-]?({_UNIT})(?![\w²³])")
_PERCENT = re.compile(rf"({NUMBER})\s?([%‰])")
_ORDINAL = re.compile(r"(?<![\w.])(\d{1,3}(?:,\d{3})?)(?:st|nd|rd|th)(?!\w)", re.IGNORECASE)
_DECADE = re.compile(r"(?<!\w)'?(?:(1[1-9]|20)(\d0)|(?<=')([2-9]0)|(?<=\bthe )([2-9]0))'?s(?!\w)")
_FRACTION = re.compile(r"(?<![\w/.,])(?:(\d{1,3})\s)?(\d{1,3})/(\d{1,3})(?![\w/]|[.,]\d)")
_PHONE = re.compile(
    r"(?<![\w.,/])(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]\d{2,4}){1,4}(?![\w/]|[.,-]\d)"
    r"|\+\d{8,15}(?!\w)"
)
_AMERICAN = re.compile(r"(?:\d{3}[ .-])?\d{3}-\d{4}|\d{3}[.-]\d{3}[.-]\d{4}|0\d{2,4} \d{3,4} \d{3,4}")
_YEAR = re.compile(r"(?<![\w.,$€£#])(1[1-9]\d\d|20\d\d)(?![\w%°]|[.,]\d|,\d)")
_YEARS_BETWEEN = re.compile(r"(?<=\b(?:1[1-9]|20)\d\d)[-–](?=\d\d(?!\d))")
_YEAR_BEFORE = re.compile(
    r"(?:\b(?:in|since|until|till|by|from|to|of|year|early|late|mid|between|and|before|after|during|through|circa)|[(–-])\s?\Z",
    re.IGNORECASE,
)
_COUNTED = re.compile(r"\s(?:[^\W\d_]+\s)?(\w+s|people|men|women|children|percent|euros|more|of)\b")
_NOT_COUNTED = frozenset("was is this has as its his was's years".split())  # noqa: SIM905
_ABBREVIATION = re.compile(
    r"(?<![\w.])(?:"
    + "|".join(sorted(map(re.escape, lists.ABBREVIATIONS), key=len, reverse=True))
    + r")(?:\.(?!\w)|(?<=[.])|\Z)",
    re.IGNORECASE,
)
_WITHOUT_DOT = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, lists.WITHOUT_DOT)) + r")(?!\w)\.?")
_SAINT = re.compile(r"(?<!\w)St\.\s(?=[A-Z])")
_STREET = re.compile(r"(?<=[a-z] )(St|Ave|Rd|Blvd)(?:\.|(?![\w.]))")
_BEFORE_NUMBER = re.compile(r"(?<![\w.])(no|nos|fig|figs|p|pp|vol|ch|sec|ext)\.\s?(?=\d)|(?<!\w)#(?=\d)", re.IGNORECASE)
_CHAPTER = re.compile(rf"(?<!\w)({lists.COUNTED})\s([IVXLC]{{1,7}})(?!\w)")
_KING = re.compile(r"(?<!\w)([A-Z][a-z]{2,20})\s([IVX]{1,7})(?![\w'])")


class English(Tongue):
    language = "en"
    words = lists.SIGNS
    letters = {}  # noqa: RUF012  # they stand for themselves
    said_as_words = lists.SAID_AS_WORDS
    fractions = lists.FRACTION_SIGNS
    greek = lists.GREEK
    pronounceable = re.compile(
        r"(?:(?:[bcdfgpst][lr]|s[ptckmnw]|[cpst]h|qu|[bcdfghjklmnprstvwyz])?[aeiouy]{1,2}(?:[nr][tdskg]|[nsrldtmpxkg])?)+"
    )

    def number_rules(self) -> list[Rule]:
        return [
            (_TIMES_BETWEEN, lambda _: " to "),
            (_TIME, self._time),
            (_TIME_HALF, self._time),
            (_ISO, lambda m: self._date(m, m.group(4), m.group(3), m.group(1))),
            (_DATE, self._numeric_date),
            (_MONTH_FIRST, lambda m: self._named_date(m, m.group(1), m.group(2), m.group(3))),
            (_DAY_FIRST, self._day_first),
            (_MONTH_YEAR, lambda m: f"{lists.SHORT_MONTHS.get(m.group(1), m.group(1))} {self.year(int(m.group(2)))}"),
            (_BEFORE_NUMBER, lambda m: lists.BEFORE_NUMBERS[m.group().lower().strip(". #")] + " "),
            (_PHONE, self._phone),
            (_YEARS_BETWEEN, lambda _: " to "),
            *self._between_numbers(),
            (_DECADE, self._decade),
            (_MONEY_BEFORE, lambda m: self._money(m.group(2), m.group(3), m.group(1))),
            (_MONEY_AFTER, lambda m: self._money(m.group(1), m.group(2), m.group(3))),
            (_MEASURE, self._measure),
            (_PERCENT, lambda m: f"{self.number(m.group(1))} {self.words[m.group(2)]}"),
            (_ORDINAL, lambda m: in_words(int(m.group(1).replace(",", "")), "en", "ordinal")),
            (_FRACTION, self._fraction),
            (_YEAR, self._maybe_year),
        ]

    def name_rules(self) -> list[Rule]:
        return [
            (_SAINT, lambda _: "Saint "),
            (_STREET, lambda m: lists.STREETS[m.group(1)]),
            (_ABBREVIATION, lambda m: lists.ABBREVIATIONS[m.group().lower().rstrip(".")]),
            (_WITHOUT_DOT, lambda m: lists.WITHOUT_DOT[m.group().rstrip(".")]),
            (_CHAPTER, lambda m: f"{m.group(1)} {self._roman(m.group(2))}"),
            (_KING, self._king),
        ]

    def cardinal(self, number: int) -> str:
        return in_words(number, "en")

    def ordinal(self, number: int) -> str:
        return in_words(number, "en", "ordinal")

    def year(self, number: int) -> str:
        """nineteen eighty-four, two thousand and six, twenty twenty-six."""
        century, rest = divmod(number, 100)
        if not 1000 < number < 2100 or (century == 20 and rest < 10) or century == 10:
            return self.cardinal(number)
        if rest == 0:
            return f"{self.cardinal(century)} hundred"
        return f"{self.cardinal(century)} {'oh ' if rest < 10 else ''}{self.cardinal(rest)}"

    def spell_acronym(self, letters: str, *, plural: bool) -> str:
        """A-P-I: with hyphens a lone A is not taken for the article."""
        return "-".join(letters) + ("'s" if plural else "")

    def spell_word(self, letters: str) -> str:
        return "-".join(letters.upper())

    def decimal(self, token: str) -> tuple[str, str]:
        dots, commas = token.count("."), token.count(",")
        if dots and commas:
            sign = max(".", ",", key=token.rfind)
            whole, _, rest = token.rpartition(sign)
            return re.sub(r"\D", "", whole), rest
        groups = re.split("[.,]", token)
        if len(groups) > 2 or (commas and len(groups[1]) == 3 and len(groups[0]) <= 3 and groups[0] != "0"):
            return "".join(groups), ""
        return groups[0], groups[1]

    def spoken_decimal(self, whole: str, rest: str) -> str:
        return f"{self.cardinal(int(whole))} point {self.digits(rest)}"

    def plain(self, match: re.Match[str]) -> str:
        return self.number(match.group())

    def count(self, figure: str, one: str, many: str) -> str:
        return f"{self.number(figure)} {one if figure == '1' else many}"

    def _money(self, figure: str, scale: str | None, sign: str) -> str:
        money = lists.CURRENCIES[sign]
        if scale:
            return f"{self.number(figure)} {lists.SCALES.get(scale, scale)} {money.many}"
        whole, rest = self.decimal(figure) if not figure.isdigit() else (figure, "")
        if len(rest) != 2:
            return self.count(figure, money.one, money.many)
        cents = f"{self.cardinal(int(rest))} {money.cent if int(rest) == 1 else money.cents}"
        if int(whole) == 0:
            return cents
        amount = self.count(whole, money.one, money.many)
        return amount if int(rest) == 0 else f"{amount} and {cents}"

    def _measure(self, match: re.Match[str]) -> str:
        unit = lists.UNITS[match.group(2)]
        return self.count(match.group(1), unit.one, unit.many)

    def _time(self, match: re.Match[str]) -> str:
        hour, minute, second, half = int(match.group(1)), match.group(2), match.group(3), match.group(4)
        spoken = self.cardinal(hour)
        if minute and int(minute):
            spoken += f" {'oh ' if int(minute) < 10 else ''}{self.cardinal(int(minute))}"
        elif minute and not half:
            spoken += " o'clock" if 1 <= hour <= 12 else " hundred"
        if second and int(second):
            spoken += f" and {self.cardinal(int(second))} {'second' if int(second) == 1 else 'seconds'}"
        return f"{spoken} {half.upper()}-M" if half else spoken

    def _numeric_date(self, match: re.Match[str]) -> str:
        """Month first, unless that month cannot be."""
        first, second = match.group(1), match.group(3)
        day, month = (first, second) if int(first) > 12 else (second, first)
        return self._date(match, day, month, match.group(4))

    def _date(self, match: re.Match[str], day: str, month: str, year: str) -> str:
        if not (1 <= int(day) <= 31 and 1 <= int(month) <= 12):
            return match.group()
        if len(year) == 2:
            year = ("20" if int(year) < 70 else "19") + year
        return f"{MONTHS['en'][int(month) - 1]} {self.ordinal(int(day))}, {self.year(int(year))}"

    def _named_date(self, match: re.Match[str], month: str, day: str, year: str | None) -> str:
        if not 1 <= int(day) <= 31:
            return match.group()
        spoken = f"{lists.SHORT_MONTHS.get(month, month)} {self.ordinal(int(day))}"
        return f"{spoken}, {self.year(int(year))}" if year else spoken

    def _day_first(self, match: re.Match[str]) -> str:
        day, month, year = match.groups()
        if not 1 <= int(day) <= 31:
            return match.group()
        spoken = f"the {self.ordinal(int(day))} of {lists.SHORT_MONTHS.get(month, month)}"
        return f"{spoken}, {self.year(int(year))}" if year else spoken

    def _phone(self, match: re.Match[str]) -> str:
        token = match.group()
        digits = re.sub(r"\D", "", token)
        if not (token[0] in "+(" or _AMERICAN.fullmatch(token)) or not 7 <= len(digits) <= 15:
            return token
        groups = ", ".join(self.digits(group) for group in re.findall(r"\d+", token))
        return ("plus " if token[0] == "+" else "") + groups

    def _decade(self, match: re.Match[str]) -> str:
        century, tens = match.group(1), match.group(2) or match.group(3) or match.group(4)
        if tens in ("00", "10"):
            return match.group() if not century else f"{self.year(int(century + tens))}s"
        plural = f"{self.cardinal(int(tens))[:-1]}ies"
        return f"{self.cardinal(int(century))} {plural}" if century else plural

    def _fraction(self, match: re.Match[str]) -> str:
        whole, top, bottom = match.group(1), int(match.group(2)), int(match.group(3))
        if (top, bottom) == (24, 7):
            return "twenty-four seven"
        if not 2 <= bottom <= 100 or top == 0 or top >= 100:
            return f"{self.cardinal(top)} over {self.cardinal(bottom)}"
        named = {2: "half", 4: "quarter"}.get(bottom) or self.ordinal(bottom)
        plural = "halves" if named == "half" else f"{named}s"
        spoken = f"{self.cardinal(top)} {named if top == 1 else plural}"
        return f"{self.number(whole)} and {spoken}" if whole else spoken

    def _maybe_year(self, match: re.Match[str]) -> str:
        """Not where things are counted: 1984 was cold, but 1500 people and 2000 km."""
        counted = _COUNTED.match(match.string, match.end())
        before = _YEAR_BEFORE.search(match.string[max(0, match.start() - 12) : match.start()])
        directly = counted is not None and counted.group().count(" ") == 1
        counts = counted is not None and counted.group(1).lower() not in _NOT_COUNTED
        if counts and (directly or not before):
            return self.cardinal(int(match.group()))
        return self.year(int(match.group()))

    def _roman(self, numeral: str) -> str:
        value = roman_value(numeral)
        return self.cardinal(value) if value else numeral

    def _king(self, match: re.Match[str]) -> str:
        name, value = match.group(1), roman_value(match.group(2))
        royal = name in lists.ROYAL
        if not value or value > 30 or (not royal and len(match.group(2)) == 1) or (match.group(2) == "I" and not royal):
            return match.group()
        return f"{name} the {self.ordinal(value)}" if royal else f"{name} {self.cardinal(value)}"
