"""Spanish: numbers with their gender, dates day first, the decimal comma, abbreviations. Pure.

Where two readings are possible one is taken: 1.200 is a thousand and two hundred, 3.14 has decimals, 5/11 is a
fraction unless a day is spoken of, 9:30 is a time of day.
"""

from __future__ import annotations

import re

from services_node.tts_server.text import spanish_words as lists
from services_node.tts_server.text.roman import roman_value
from services_node.tts_server.text.tongue import NUMBER, Rule, Tongue, in_words
from wire.dates import MONTHS

_MONTH = "|".join([*MONTHS["es"], *lists.SHORT_MONTHS])
_HOUR = r"(?<![\w:.,])([01]?\d|2[0-3])"
_HALF = r"\s?([ap])\.?\s?m\b\.?"
_TIME = re.compile(
    rf"{_HOUR}:([0-5]\d)(?::([0-5]\d))?(?![\w:]|[.,]\d)(?:{_HALF}|\s?(?:h|hs|hrs|horas)\b\.?)?", re.IGNORECASE
)
_TIME_DOT = re.compile(rf"{_HOUR}\.([0-5]\d)()(?:{_HALF}|\s?(?:h|hs|hrs|horas)\b\.?)", re.IGNORECASE)
_HOUR_HALF = re.compile(rf"(?<![\w:.,])(0?\d|1[0-2])()(){_HALF}", re.IGNORECASE)
_TIMES_BETWEEN = re.compile(r"(?<=\d[:.]\d\d)(?:\s?h)?\s?[-–]\s?(?=\d{1,2}[:.]\d\d)")
_DATE = re.compile(r"(?<![\w/.-])(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|\d{2})(?![\w/]|[.-]\d)")
_ISO = re.compile(r"(?<![\w/.-])(\d{4})([-/])(\d{1,2})\2(\d{1,2})(?![\w/]|[.-]\d)")
_DAY_MONTH = re.compile(
    r"(?<=\b(?:el|al)\s)(\d{1,2})/(\d{1,2})(?![\w/])|(?<=\bdel\s)(\d{1,2})/(\d{1,2})(?![\w/])", re.IGNORECASE
)
_WRITTEN = re.compile(
    rf"(?<![\w.,])(\d{{1,2}})[ -](?:de )?({_MONTH})\b\.?(?:[ -](?:de(?:l)? )?(\d{{4}})(?!\d))?", re.IGNORECASE
)

_SIGN = "|".join(map(re.escape, lists.CURRENCIES))
_MANY = r"(?:\s?(millones|millón|mil|M|k)(?!\w))?"
_MONEY_AFTER = re.compile(rf"({NUMBER}){_MANY}\s?(?:de\s)?({_SIGN})(?!\w)")
_MONEY_BEFORE = re.compile(rf"(?<!\w)({_SIGN})\s?({NUMBER}){_MANY}")
_PRICE_FOR = re.compile(rf"(?<=[€$£])/({'|'.join(map(re.escape, lists.PRICED))})(?!\w)")
_UNIT = "|".join(sorted(map(re.escape, lists.UNITS), key=len, reverse=True))
_MEASURE = re.compile(rf"({NUMBER})\s?({_UNIT})(?![\w²³])")
_PERCENT = re.compile(rf"({NUMBER})\s?([%‰])")
_ORDINAL = re.compile(
    r"(?<![\w.,])(\d{1,3})(?:\.?([ºª])|\.([oa])(?=\s)|\.?(er|ero|ra|do|da|to|ta|vo|va|mo|ma)\b)(?!\w)"
)
_FRACTION = re.compile(r"(?<![\w/.,])(\d{1,3})/(\d{1,3})(?![\w/]|[.,]\d)")
_PHONE = re.compile(
    r"(?<![\w.,/])(?:\+\d{1,3}[ .-]?)?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]\d{2,4}){1,4}(?![\w/]|[.,-]\d)"
    r"|\+\d{8,15}(?!\w)"
)
_CALLED = re.compile(
    r"(?:tel|tfno|teléfono|móvil|llam\w*|whatsapp|contacto)[\w.]*:? (?:al |es el |en el )?\Z", re.IGNORECASE
)
_NINE = re.compile(r"(?<![\w.,/])[6789]\d{8}(?![\w/]|[.,]\d)")
_ABBREVIATION = re.compile(
    r"(?<![\w.])(?:" + "|".join(sorted(map(re.escape, lists.ABBREVIATIONS), key=len, reverse=True)) + r")(?!\w)\.?",
    re.IGNORECASE,
)
_BEFORE_NUMBER = re.compile(
    r"(?<![\w.])(n|núm|num|pág|págs|p|pp|art|arts|cap|fig|vol|tel|ext)\.\s?(?=\d)|(?<!\w)n\.?º\s?|(?<!\w)#(?=\d)",
    re.IGNORECASE,
)
_CENTURY = re.compile(rf"(?<!\w)({lists.COUNTED})\s([IVXLCDM]{{1,7}})(?!\w)", re.IGNORECASE)
_CENTURIES = re.compile(r"(?<=\bsiglos\s)([IVX]{1,7})\s?(y|al?|-|–)\s?([IVX]{1,7})(?!\w)")
_KING = re.compile(r"(?<!\w)([A-ZÁÉÍÓÚ][a-záéíóúñ]{2,20})\s([IVX]{1,7})(?!\w)")
_ROMAN_FIRST = re.compile(r"(?<!\w)([IVX]{2,6}|I|V|X)\s(?=([A-ZÁÉÍÓÚ][a-záéíóúñ]{4,20}))")
_LONE = re.compile(r"(?<![\w'])[BCDFGHJKLMNÑPQRSTVWXZ](?![\w'.])")
_NEXT_WORD = re.compile(r"\s(?:de\s)?([^\W\d_]+)")


class Spanish(Tongue):
    language = "es"
    words = lists.SIGNS
    letters = lists.LETTERS
    said_as_words = lists.SAID_AS_WORDS
    fractions = lists.FRACTION_SIGNS
    greek = lists.GREEK
    pronounceable = re.compile(r"(?:(?:[bcdfgpt][lr]|ch|ll|rr|qu|[bcdfghjklmnñprstvyz])?[aeiouáéíóú]{1,2}[nsrldmz]?)+")

    def number_rules(self) -> list[Rule]:
        return [
            (_TIMES_BETWEEN, lambda _: " a "),
            (_TIME, self._time),
            (_TIME_DOT, self._time),
            (_HOUR_HALF, self._time),
            (_ISO, lambda m: self._date(m, m.group(4), m.group(3), m.group(1))),
            (_DATE, lambda m: self._date(m, m.group(1), m.group(3), m.group(4))),
            (_DAY_MONTH, lambda m: self._date(m, m.group(1) or m.group(3), m.group(2) or m.group(4), "")),
            (_WRITTEN, self._written_date),
            (_BEFORE_NUMBER, lambda m: lists.BEFORE_NUMBERS[m.group().lower().strip(".º# ")] + " "),
            (_PHONE, self._phone),
            (_NINE, self._nine),
            *self._between_numbers(),
            (_PRICE_FOR, lambda m: lists.PRICED[m.group(1)]),
            (_MONEY_BEFORE, lambda m: self._money(m.group(2), m.group(3), m.group(1))),
            (_MONEY_AFTER, lambda m: self._money(m.group(1), m.group(2), m.group(3))),
            (_MEASURE, self._measure),
            (_PERCENT, lambda m: f"{self.number(m.group(1))} {self.words[m.group(2)]}"),
            (_ORDINAL, self._ordinal),
            (_FRACTION, self._fraction),
        ]

    def name_rules(self) -> list[Rule]:
        return [
            (_ABBREVIATION, lambda m: lists.ABBREVIATIONS[re.sub(r"\s+", " ", m.group().lower().rstrip("."))]),
            (
                _CENTURIES,
                lambda m: f"{self._roman(m.group(1))} {'y' if m.group(2) == 'y' else 'a'} {self._roman(m.group(3))}",
            ),
            (_CENTURY, lambda m: f"{m.group(1)} {self._roman(m.group(2))}"),
            (_KING, self._king),
            (_ROMAN_FIRST, self._roman_first),
        ]

    def cardinal(self, number: int) -> str:
        words = in_words(number, "es")
        return re.sub(r"\b(\w*?)uno (?=mil|\w*ill)", lambda m: "veintiún " if m.group(1) else "un ", words)

    def feminine(self, words: str) -> str:
        """doscientas veintiuna: of thousands too, of millions not."""
        head, million, tail = words.rpartition("illones ")
        return (
            head
            + million
            + re.sub(r"cientos\b", "cientas", tail).replace("quinientos", "quinientas").replace("uno", "una")
        )

    @staticmethod
    def before_noun(words: str) -> str:
        return re.sub(r"veintiuno$", "veintiún", re.sub(r"\buno$", "un", words))

    def decimal(self, token: str) -> tuple[str, str]:
        dots, commas = token.count("."), token.count(",")
        if dots and commas:
            sign = max(".", ",", key=token.rfind)
            whole, _, rest = token.rpartition(sign)
            return re.sub(r"\D", "", whole), rest
        groups = re.split("[.,]", token)
        grouped = len(groups[0]) <= 3 and groups[0] != "0" and all(len(group) == 3 for group in groups[1:])
        if (grouped and (dots or commas > 1)) or dots + commas > 1:
            return "".join(groups), ""
        return groups[0], groups[1]

    def spoken_decimal(self, whole: str, rest: str) -> str:
        zeros = len(rest) - len(rest.lstrip("0"))
        if len(rest) - zeros > 2 or zeros == len(rest):
            spoken = self.digits(rest)
        else:
            spoken = " ".join(["cero"] * zeros + [self.cardinal(int(rest))])
        return f"{self.cardinal(int(whole))} coma {spoken}"

    def plain(self, match: re.Match[str]) -> str:
        """With the gender of the noun that follows."""
        words = self.number(match.group())
        if not match.group().replace(".", "").isdigit() or not re.search(r"uno$|cientos|quinientos", words):
            return words
        following = _NEXT_WORD.match(match.string, match.end())
        if following is None or following.group(1).lower() in lists.NO_NOUNS or following.group().startswith(" de "):
            return words
        return self._counting(words, self._is_feminine(following.group(1).lower()))

    def _counting(self, words: str, feminine: bool) -> str:
        return self.feminine(words) if feminine else self.before_noun(words)

    @staticmethod
    def _is_feminine(noun: str) -> bool:
        if noun in lists.MASCULINE or noun in lists.FEMININE:
            return noun in lists.FEMININE
        return noun.endswith(
            ("a", "as", "ción", "sión", "ciones", "siones", "dad", "dades", "tud", "tudes", "umbre", "umbres")
        )

    def count(self, figure: str, one: str, many: str, *, feminine: bool = False) -> str:
        """So many of a thing: `un euro`, `veintiuna libras`, `un millón de euros`, `tres coma cinco kilos`."""
        whole, rest = self.decimal(figure) if not figure.isdigit() else (figure, "")
        if rest:
            return f"{self.number(figure)} {many}"
        words = self._counting(self.number(figure), feminine)
        de = "de " if words.endswith(("illón", "illones")) else ""
        return f"{words} {de}{one if whole == '1' else many}"

    def _money(self, figure: str, scale: str | None, sign: str) -> str:
        money = lists.CURRENCIES[sign]
        if scale:
            scale_words = {"M": "millones", "k": "mil"}.get(scale, scale)
            de = "" if scale_words == "mil" else "de "
            single = figure == "1" and scale_words == "millones"
            amount = "un millón" if single else f"{self.before_noun(self.number(figure))} {scale_words}"
            return f"{amount} {de}{money.many}"
        whole, rest = self.decimal(figure) if not figure.isdigit() else (figure, "")
        if len(rest) != 2:
            return self.count(figure, money.one, money.many, feminine=money.feminine)
        cents = self.before_noun(self.cardinal(int(rest)))
        if int(whole) == 0:
            return f"{cents} {money.cent if int(rest) == 1 else money.cents}"
        amount = self.count(whole, money.one, money.many, feminine=money.feminine)
        return amount if int(rest) == 0 else f"{amount} con {self.cardinal(int(rest))}"

    def _measure(self, match: re.Match[str]) -> str:
        unit = lists.UNITS[match.group(2)]
        return self.count(match.group(1), unit.one, unit.many, feminine=unit.feminine)

    def _time(self, match: re.Match[str]) -> str:
        hour, minute, second = int(match.group(1)), int(match.group(2) or 0), match.group(3)
        half = (match.group(4) or "").lower()
        hour_words = "una" if hour == 1 else self.feminine(self.cardinal(hour))
        spoken = hour_words + self._minutes(hour, minute)
        if second and int(second):
            spoken += f" y {self.cardinal(int(second))} segundos" if int(second) > 1 else " y un segundo"
        if half == "a":
            return spoken + (" de la noche" if hour == 12 else " de la mañana")
        if half == "p":
            return spoken + (" del mediodía" if hour == 12 else " de la tarde" if hour < 8 else " de la noche")
        return spoken

    def _minutes(self, hour: int, minute: int) -> str:
        if minute == 0:
            return ""
        if 1 <= hour <= 12 and minute in (15, 30):
            return " y cuarto" if minute == 15 else " y media"
        return f" {'y ' if minute < 30 else ''}{self.cardinal(minute)}"

    def _date(self, match: re.Match[str], day: str, month: str, year: str) -> str:
        if int(month) > 12 and int(day) <= 12:
            day, month = month, day
        if not (1 <= int(day) <= 31 and 1 <= int(month) <= 12):
            return match.group()
        if len(year) == 2:
            year = ("20" if int(year) < 70 else "19") + year
        spoken = f"{self.cardinal(int(day))} de {MONTHS['es'][int(month) - 1]}"
        return f"{spoken} de {self.cardinal(int(year))}" if year else spoken

    def _written_date(self, match: re.Match[str]) -> str:
        day, month, year = match.groups()
        name = lists.SHORT_MONTHS.get(month.lower(), month)
        spoken = f"{self.cardinal(int(day))} de {name}"
        return f"{spoken} de {self.cardinal(int(year))}" if year else spoken

    def _phone(self, match: re.Match[str]) -> str:
        token = match.group()
        digits = re.sub(r"\D", "", token)
        is_called = bool(_CALLED.search(match.string[max(0, match.start() - 30) : match.start()]))
        known = token[0] in "+(" or (len(digits) == 9 and digits[0] in "6789" and "." not in token) or is_called
        if not known or not 6 <= len(digits) <= 15:
            return token
        return self._grouped(re.findall(r"\d+", token), plus=token[0] == "+")

    def _grouped(self, groups: list[str], *, plus: bool = False) -> str:
        return ("más " if plus else "") + ", ".join(self.digits(group) for group in groups)

    def _nine(self, match: re.Match[str]) -> str:
        if not _CALLED.search(match.string[max(0, match.start() - 30) : match.start()]):
            return match.group()
        return self._grouped(re.findall(r"\d{3}", match.group()))

    def ordinal(self, number: int, *, feminine: bool) -> str:
        """Up to ninety-ninth; what is beyond is counted."""
        if not 1 <= number < 100:
            return self.cardinal(number)
        if number < 20:
            words = lists.ORDINALS[number - 1]
        else:
            tens, ones = divmod(number, 10)
            words = lists.TENTHS[tens - 2] + (f" {lists.ORDINALS[ones - 1]}" if ones else "")
        return re.sub(r"o\b", "a", words) if feminine else words

    def _ordinal(self, match: re.Match[str]) -> str:
        number = int(match.group(1))
        ending = next(group for group in match.groups()[1:] if group)
        feminine = ending in ("ª", "a") or (len(ending) == 2 and ending[-1] == "a")
        words = self.ordinal(number, feminine=feminine)
        following = _NEXT_WORD.match(match.string, match.end())
        directly = following is not None and following.group().count(" ") == 1
        noun = directly and following is not None and following.group(1).lower() not in lists.NO_NOUNS
        return re.sub(r"(primer|tercer)o$", r"\1", words) if noun or ending == "er" else words

    def _fraction(self, match: re.Match[str]) -> str:
        top, bottom = int(match.group(1)), int(match.group(2))
        if (top, bottom) == (24, 7):
            return "veinticuatro siete"
        if not 2 <= bottom <= 100 or top == 0 or top >= 100:
            return f"{self.cardinal(top)} entre {self.cardinal(bottom)}"
        if bottom <= 10:
            name = lists.PARTS[bottom - 2]
        else:
            name = "centésimo" if bottom == 100 else self.cardinal(bottom).replace(" ", "") + "avo"
        name = name.replace("unoavo", "unavo").replace("ceavo", "ceavo").replace("aavo", "avo").replace("yuno", "iuno")
        return f"un {name}" if top == 1 else f"{self.before_noun(self.cardinal(top))} {name}s"

    def _roman(self, numeral: str) -> str:
        value = roman_value(numeral)
        return self.cardinal(value) if value else numeral

    def _king(self, match: re.Match[str]) -> str:
        name, value = match.group(1), roman_value(match.group(2))
        royal = name in lists.ROYAL
        if not value or (not royal and (len(match.group(2)) == 1 or value > 30)):
            return match.group()
        feminine = name in lists.QUEENS
        return f"{name} {self.ordinal(value, feminine=feminine) if royal and value <= 10 else self.cardinal(value)}"

    def _roman_first(self, match: re.Match[str]) -> str:
        noun = match.group(2).lower()
        if noun not in lists.NUMBERED_EVENTS or not (value := roman_value(match.group(1))):
            return match.group()
        words = self.ordinal(value, feminine=self._is_feminine(noun))
        return re.sub(r"(primer|tercer)o$", r"\1", words) + " "

    def word_rules(self) -> list[Rule]:
        return [*super().word_rules(), (_LONE, lambda m: lists.LETTERS[m.group().lower()])]
