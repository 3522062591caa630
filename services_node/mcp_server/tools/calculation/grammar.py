"""Works tokens out as it reads them: operators by how tightly they bind (Pratt), bounded in depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

from services_node.mcp_server.tools.calculation import arithmetic, calendar, measures
from services_node.mcp_server.tools.calculation.arithmetic import Percent, Value
from services_node.mcp_server.tools.calculation.errors import CalculationFailed, NotUnderstood
from services_node.mcp_server.tools.calculation.functions import CONSTANTS, FUNCTIONS
from services_node.mcp_server.tools.calculation.measures import Measure, Powers
from services_node.mcp_server.tools.calculation.reading import Token
from services_node.mcp_server.tools.calculation.token_reader import TokenReader
from services_node.mcp_server.tools.calculation.vocabulary import DAY_WORDS, NUMBER_WORDS, SCALES

MAX_DEPTH = 40
CONVERT, SHIFT, SUM, PRODUCT, SIGN, UNIT, POWER, SUFFIX = 5, 8, 20, 30, 40, 45, 50, 60
BINDS = {
    "to": CONVERT, "is": CONVERT, "after": SHIFT, "before": SHIFT, "ago": SHIFT, "from now": SHIFT,
    "+": SUM, "-": SUM, "and": SUM, "*": PRODUCT, "/": PRODUCT, "entre": PRODUCT, "//": PRODUCT, "mod": PRODUCT,
    "of": PRODUCT, "off": PRODUCT, "^": POWER, "!": SUFFIX, "squared": SUFFIX, "cubed": SUFFIX,
}  # fmt: skip
SPANS = frozenset({"between", "entre", "until", "since"})


@dataclass(frozen=True, slots=True)
class Weekday:
    """The day of the week of a date, where that was asked."""

    day: calendar.Day


class Parser(TokenReader):
    def __init__(self, tokens: Sequence[Token], today: date) -> None:
        super().__init__(tokens)
        self._depth = 0
        self._today = today

    def result(self) -> Value | Weekday:
        """Raises CalculationFailed."""
        self._skip_words()
        if self._take("weekday"):
            found: Value | Weekday = Weekday(self._a_day(self._expression()))
        else:
            found = self._expression()
        if self._next.kind != "end":
            raise NotUnderstood(f"`{self._next.text}` is not understood here.")
        return found

    # expressions

    def _expression(self, binds: int = 0) -> Value:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise CalculationFailed(f"The expression is nested too deeply: at most {MAX_DEPTH} levels are worked out.")
        left = self._operand()
        while (power := self._binding(left)) > binds:
            left = self._joined(left, power)
        self._depth -= 1
        return left

    def _binding(self, left: Value) -> int:
        """How tightly the next token binds to what stands before it; 0 for one that ends the expression."""
        token = self._next
        if token.kind == "end" or (token.kind == "sign" and token.meaning in (")", "]", ",", ";")):
            return 0
        if token.meaning == "%":
            return PRODUCT if self._is_modulo(left) else SUFFIX
        if token.kind == "word" and self._unit_ahead():
            return UNIT
        if token.meaning in BINDS:
            return BINDS[token.meaning]
        if token.kind in ("number", "time") and isinstance(left, Measure):
            return SUM + 1  # 3 h 25 min
        if token.kind == "word" and token.folded in SCALES:
            return UNIT
        if (token.kind == "sign" and token.meaning == "(") or token.folded in CONSTANTS or token.function:
            return PRODUCT
        return 0

    def _is_modulo(self, left: Value) -> bool:
        after = self._second
        starts = after.kind in ("number", "time") or (after.kind == "sign" and after.meaning == "(")
        return self._next.text == "%" and starts and not isinstance(left, Percent)

    def _joined(self, left: Value, power: int) -> Value:
        token = self._next
        if power == UNIT:
            return self._with_unit(left)
        if token.meaning is None or (token.meaning not in BINDS and token.meaning != "%"):
            right = self._expression(PRODUCT if power == PRODUCT else power)
            return arithmetic.multiply(left, right) if power == PRODUCT else arithmetic.add(left, right)
        self._at += 1
        match token.meaning:
            case "to":
                return self._converted(left)
            case "is":
                return self._share_of(left)
            case "after":
                return calendar.moved(self._a_day(self._expression(SHIFT)), self._a_measure(left))
            case "before":
                return calendar.moved(self._a_day(self._expression(SHIFT)), self._a_measure(left), -1)
            case "ago":
                return calendar.moved(self._today, self._a_measure(left), -1)
            case "from now":
                return calendar.moved(self._today, self._a_measure(left))
            case "^":
                return arithmetic.power(left, self._expression(POWER - 1))
            case "%":
                if power == SUFFIX:
                    return Percent(arithmetic.a_number(left))
                return arithmetic.modulo(left, self._expression(PRODUCT))
            case "!":
                return arithmetic.called("factorial", [left])
            case "squared" | "cubed":
                return arithmetic.power(left, Fraction(2 if token.meaning == "squared" else 3))
            case "/" | "entre":
                # 1/2 km is half a kilometre: the unit belongs to the quotient
                plain = not isinstance(left, Measure) and self._next.kind == "number"
                return arithmetic.divide(left, self._expression(UNIT if plain else PRODUCT))
        right = self._expression(SUM if power == SUM else PRODUCT)
        return arithmetic.BY_MEANING[token.meaning](left, right)

    # operands

    def _operand(self) -> Value:
        self._skip_words()
        token = self._next
        self._at += 1
        match token.kind:
            case "number":
                return self._scaled(token.value)
            case "time":
                return Measure(token.value / 3600, (("hour", 1),))
            case "day":
                assert token.day is not None  # noqa: S101 - what a token of this kind is
                return token.day
            case "sign":
                return self._signed(token)
            case "word":
                return self._word(token)
        raise NotUnderstood("The expression breaks off: something is missing at its end.")

    def _signed(self, token: Token) -> Value:
        if token.meaning == "(":
            found = self._expression()
            self._expect(")")
            return found
        if token.meaning == "-":
            return arithmetic.negative(self._expression(SIGN))
        if token.meaning == "+":
            return self._expression(SIGN)
        raise NotUnderstood(f"`{token.text}` is not understood here.")

    def _scaled(self, value: Fraction) -> Value:
        while self._next.kind == "word" and self._next.folded in SCALES:
            value *= SCALES[self._next.folded]
            self._at += 1
        return value

    def _word(self, token: Token) -> Value:
        word = token.folded
        if token.function and self._is_call(token):
            return self._called(token.function)
        if word in ("$", "€", "£"):
            return Measure(arithmetic.a_number(self._expression(SIGN)), measures.unit_named(word) or ())
        if word in CONSTANTS:
            return CONSTANTS[word]
        if word in DAY_WORDS:
            return self._today + timedelta(days=DAY_WORDS[word])
        if word in NUMBER_WORDS and self._next.meaning not in SPANS:
            return self._scaled(Fraction(NUMBER_WORDS[word]))
        match token.meaning:
            case "+":
                return self._expression(SIGN)
            case "-":
                return arithmetic.negative(self._expression(SIGN))
            case "between":
                return self._span("day", token)
            case "hace":
                return calendar.moved(self._today, self._a_measure(self._expression(SHIFT)), -1)
            case "in time" | "to":
                return calendar.moved(self._today, self._a_measure(self._expression(SHIFT)))
            case "how many":
                return self._how_many()
            case "what percent":
                return self._what_percent()
        return self._bare_unit(token)

    def _bare_unit(self, token: Token) -> Value:
        self._at -= 1
        unit = self._unit()
        if unit is None:
            raise NotUnderstood(f"`{token.text}` is not understood.")
        if self._begins_span():
            named = self._next
            self._at += 1
            return self._span(_one_name(unit), named)
        return Measure(Fraction(1), unit)

    def _begins_span(self) -> bool:
        return self._next.meaning in SPANS or self._next.folded in ("hasta", "desde")

    def _span(self, unit: str, how: Token) -> Measure:
        """`days between A and B`, `days until A`, `days since A`."""
        self._skip_words()
        first = self._a_day(self._expression(SUM))
        if how.meaning == "until" or how.folded == "hasta":
            return calendar.between(self._today, first, unit)
        if how.meaning == "since":
            return calendar.between(first, self._today, unit)
        if how.folded in ("from", "desde") and self._next.meaning not in ("to", "and", "until"):
            return calendar.between(first, self._today, unit)
        self._expect("and", "to", "until")
        return calendar.between(first, self._a_day(self._expression(SUM)), unit)

    def _how_many(self) -> Value:
        self._skip_words()
        if self._take("is"):
            return self._expression()
        unit = self._unit()
        if unit is None:
            return self._expression()
        self._take("is")
        if self._begins_span():
            how = self._next
            self._at += 1
            return self._span(_one_name(unit), how)
        self._take("to")
        return arithmetic.converted(self._expression(), unit)

    def _what_percent(self) -> Value:
        if self._take("of"):
            whole = self._expression(PRODUCT)
            self._expect("is")
            return arithmetic.share(self._expression(PRODUCT), whole)
        self._expect("is")
        part = self._expression(PRODUCT)
        self._expect("of")
        return arithmetic.share(part, self._expression(PRODUCT))

    def _share_of(self, part: Value) -> Value:
        """`20 is what percent of 80`."""
        if not self._take("what percent"):
            raise NotUnderstood("`is` is not understood here.")
        self._expect("of")
        return arithmetic.share(part, self._expression(PRODUCT))

    # functions

    def _is_call(self, token: Token) -> bool:
        after = self._next
        if (after.kind == "sign" and after.meaning in ("(", "[", "-")) or after.meaning == "of":
            return True
        return (after.kind in ("number", "word") and after.meaning is None) and token.folded not in (
            "min",
            "date",
            "mod",
        )

    def _called(self, name: str) -> Value:
        if name == "frac":
            top, bottom = self._operand(), self._operand()
            return arithmetic.divide(top, bottom)
        most = FUNCTIONS[name].arguments[1] if name in FUNCTIONS else 3
        self._take("of")
        self._skip_words()
        if self._next.kind == "sign" and self._next.meaning in ("(", "["):
            return arithmetic.called(name, self._arguments())
        given = [self._expression(SIGN)]
        while most > 1 and self._take(",", "and"):
            self._take("and")
            given.append(self._expression(SIGN))
        return arithmetic.called(name, given)

    def _arguments(self) -> list[Value]:
        """What stands in brackets; a list in them is its members."""
        closing = ")" if self._next.meaning == "(" else "]"
        self._at += 1
        given: list[Value] = []
        while not self._take(closing):
            if self._next.kind == "sign" and self._next.meaning == "[":
                self._depth += 1
                if self._depth > MAX_DEPTH:
                    raise CalculationFailed("The lists are nested too deeply.")
                given.extend(self._arguments())
                self._depth -= 1
            else:
                given.append(self._expression())
            if not self._take(",", ";"):
                self._expect(closing)
                break
        return given

    # units

    def _with_unit(self, left: Value) -> Value:
        if self._next.folded in SCALES:
            scale = Fraction(SCALES[self._next.folded])
            self._at += 1
            return arithmetic.multiply(left, scale)
        unit = self._unit()
        if unit is None:
            raise measures.unknown_unit(self._next.text)
        return Measure(arithmetic.a_number(left), unit)

    def _converted(self, left: Value) -> Value:
        self._skip_words()
        if self._take("%"):
            return Percent(arithmetic.a_number(arithmetic.multiply(left, Fraction(100))))
        target = self._next.text
        unit = self._unit()
        if unit is None:
            raise measures.unknown_unit(target or "nothing")
        return arithmetic.converted(left, unit)

    # what an operator takes

    def _a_day(self, value: Value) -> calendar.Day:
        if not isinstance(value, date):
            raise NotUnderstood("A date is expected here, as year-month-day.")
        return value

    def _a_measure(self, value: Value) -> Measure:
        if not isinstance(value, Measure):
            raise NotUnderstood("An amount of time with its unit is expected here, as `45 days`.")
        return value


def _one_name(unit: Powers) -> str:
    if len(unit) != 1 or unit[0][1] != 1 or measures.dimension(unit) != measures.TIME:
        raise NotUnderstood("Between dates there are days, weeks, months, years, hours or minutes.")
    return unit[0][0]
