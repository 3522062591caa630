"""The operators on every kind of value: numbers, percentages, quantities, dates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction

from services_node.mcp_server.tools.calculation import calendar, measures, numbers
from services_node.mcp_server.tools.calculation.errors import CalculationFailed, NotUnderstood
from services_node.mcp_server.tools.calculation.functions import FUNCTIONS, SAME_UNIT
from services_node.mcp_server.tools.calculation.measures import Measure
from services_node.mcp_server.tools.calculation.numbers import Number


@dataclass(frozen=True, slots=True)
class Percent:
    """A share, in hundredths: added to something it is a share of that, as on any pocket calculator."""

    hundredths: Number

    @property
    def share(self) -> Number:
        return numbers.divide(self.hundredths, Fraction(100))


Value = Fraction | float | Percent | Measure | calendar.Day


def a_number(value: Value) -> Number:
    """A value that has to be a plain number. Raises CalculationFailed for any other."""
    if isinstance(value, Percent):
        return value.share
    if isinstance(value, Fraction | float):
        return value
    what = "a date" if isinstance(value, date) else f"a quantity ({measures.symbol(value.unit)})"
    raise CalculationFailed(f"A plain number is expected where {what} stands.")


def add(left: Value, right: Value, sign: int = 1) -> Value:
    if isinstance(right, Percent):
        if isinstance(left, Percent):
            return Percent(numbers.add(left.hundredths, sign * right.hundredths))
        return multiply(left, numbers.add(Fraction(1), sign * right.share))
    if isinstance(left, date):
        if isinstance(right, date):
            if sign > 0:
                raise CalculationFailed("Two dates are not added. Their distance is `days between … and …`.")
            return calendar.between(right, left)
        if isinstance(right, Measure):
            return calendar.moved(left, right, sign)
        raise NotUnderstood("To a date an amount of time with its unit is added.")
    if isinstance(right, date):
        if isinstance(left, Measure) and sign > 0:
            return calendar.moved(right, left)
        raise NotUnderstood("A date stands before what is added to it or taken from it.")
    if isinstance(left, Measure) and isinstance(right, Measure):
        return measures.add(left, negative(right) if sign < 0 else right)  # type: ignore[arg-type]
    if isinstance(left, Measure) or isinstance(right, Measure):
        raise CalculationFailed("A quantity and a plain number are not added: both need a unit.")
    return numbers.add(a_number(left), sign * a_number(right))


def subtract(left: Value, right: Value) -> Value:
    return add(left, right, -1)


def negative(value: Value) -> Value:
    if isinstance(value, Measure):
        return Measure(-value.magnitude, value.unit, value.asked)
    if isinstance(value, Percent):
        return Percent(-value.hundredths)
    return -a_number(value)


def multiply(left: Value, right: Value) -> Value:
    if isinstance(left, Measure) and isinstance(right, Measure):
        return measures.multiply(left, right)
    if isinstance(left, Measure):
        return Measure(numbers.multiply(left.magnitude, a_number(right)), left.unit)
    if isinstance(right, Measure):
        return Measure(numbers.multiply(a_number(left), right.magnitude), right.unit)
    return numbers.multiply(a_number(left), a_number(right))


def divide(left: Value, right: Value) -> Value:
    if isinstance(right, Measure):
        over = left if isinstance(left, Measure) else Measure(a_number(left), ())
        return measures.multiply(over, right, -1)
    if isinstance(left, Measure):
        return Measure(numbers.divide(left.magnitude, a_number(right)), left.unit)
    return numbers.divide(a_number(left), a_number(right))


def floor_divide(left: Value, right: Value) -> Value:
    return numbers.floor_divide(a_number(divide(left, right)), Fraction(1))


def modulo(left: Value, right: Value) -> Value:
    return numbers.modulo(a_number(left), a_number(right))


def power(base: Value, exponent: Value) -> Value:
    number = a_number(exponent)
    if not isinstance(base, Measure):
        return numbers.power(a_number(base), number)
    if not isinstance(number, Fraction) or number.denominator != 1:
        raise CalculationFailed("A quantity is raised to whole powers only.")
    if number == 0:
        return Fraction(1)
    return Measure(numbers.power(base.magnitude, number), measures.raised(base.unit, number.numerator))


def off(left: Value, right: Value) -> Value:
    """`20% off 50`."""
    if not isinstance(left, Percent):
        raise NotUnderstood("`off` takes a percentage.")
    return add(right, left, -1)


def converted(value: Value, unit: measures.Powers) -> Value:
    if not isinstance(value, Measure):
        raise NotUnderstood(f"To be converted to {measures.symbol(unit)} it needs a unit of its own.")
    return measures.convert(value, unit)


def share(part: Value, whole: Value) -> Value:
    """What percentage `part` is of `whole`."""
    return Percent(numbers.multiply(a_number(divide(part, whole)), Fraction(100)))


def called(name: str, given: Sequence[Value]) -> Value:
    """What a function says. Raises CalculationFailed for arguments it does not take."""
    function = FUNCTIONS.get(name)
    if function is None:
        raise NotUnderstood(f"`{name}` is no function.")
    fewest, most = function.arguments
    if not fewest <= len(given) <= most:
        wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise NotUnderstood(f"`{name}` takes {wanted} argument{'s' if most > 1 else ''}, not {len(given)}.")
    first = given[0]
    if isinstance(first, Measure):
        if name in ("sin", "cos", "tan"):
            return function.work(measures.convert(first, (("radian", 1),)).magnitude)
        if name in SAME_UNIT or name in ("round", "floor", "ceil", "trunc"):
            return Measure(function.work(*_in_unit(name, given, first.unit)), first.unit, asked=True)
        if name == "sqrt" and all(exponent % 2 == 0 for _, exponent in first.unit):
            return Measure(function.work(first.magnitude), tuple((one, half // 2) for one, half in first.unit))
    return function.work(*(a_number(value) for value in given))


def _in_unit(name: str, given: Sequence[Value], unit: measures.Powers) -> list[Number]:
    magnitudes = []
    for position, value in enumerate(given):
        if isinstance(value, Measure):
            magnitudes.append(measures.convert(value, unit).magnitude)
        elif name == "round" and position:
            magnitudes.append(a_number(value))
        else:
            raise CalculationFailed(f"All arguments of `{name}` need a unit where one has one.")
    return magnitudes


BY_MEANING: dict[str, Callable[[Value, Value], Value]] = {
    "+": add,
    "and": add,
    "-": subtract,
    "*": multiply,
    "of": multiply,
    "off": off,
    "//": floor_divide,
    "mod": modulo,
}
