"""Quantities: a number with a unit. Pint knows the units; the arithmetic on them is ours, so that it stays exact."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from services_node.mcp_server.tools.calculation import numbers
from services_node.mcp_server.tools.calculation.errors import CalculationFailed, NotUnderstood
from services_node.mcp_server.tools.calculation.numbers import Number
from services_node.mcp_server.tools.calculation.vocabulary import UNIT_WORDS

MAX_EXPONENT = 12
ROUGH_DENOMINATOR = 10**30  # Pint's π and its like: fractions that only look exact
ZEROES = {"degree_Celsius": Fraction(27315, 100), "degree_Fahrenheit": Fraction(45967, 100)}  # above absolute zero
TIME = (("second", 1),)
MONTHS = {"month": 1, "year": 12, "decade": 120, "century": 1200}
_NAME = re.compile(r"[^\W\d]+")

Powers = tuple[tuple[str, int], ...]  # names of units as Pint calls them, with their exponents, in the order written


@dataclass(frozen=True, slots=True)
class Measure:
    """magnitude: in `unit`. asked: whether somebody asked for this very unit, so that it is told in it alone."""

    magnitude: Number
    unit: Powers
    asked: bool = False


@lru_cache(maxsize=1)
def _registry() -> Any:
    import pint  # a quarter of a second, for the first unit only

    made: Any = pint.UnitRegistry(non_int_type=Fraction)
    for definition in ("euro = [euros] = EUR", "dollar = [dollars] = USD", "pound_sterling = [sterling] = GBP"):
        made.define(definition)
    return made


@lru_cache(maxsize=1000)
def unit_named(word: str) -> Powers | None:
    """The unit a word of either language means, or None. `m2` is m²."""
    name = UNIT_WORDS.get(word) or UNIT_WORDS.get(_folded(word))
    if name:
        return ((name, 1),)
    squared = re.fullmatch(r"([^\W\d]+)([23])", word)
    if squared and (found := unit_named(squared[1])):
        return raised(found, int(squared[2]))
    if not _NAME.fullmatch(word) or len(word) > 40:
        return None
    for form in (word, _folded(word)):
        try:
            known = _registry().get_name(form)
        except Exception:  # noqa: S112 - Pint's own tree of errors: what it does not know is no unit
            continue
        if known and "delta" not in known:
            return ((str(known), 1),)
    return None


@lru_cache(maxsize=1000)
def _base(name: str) -> tuple[Number, Powers]:
    factor, units = _registry().get_base_units(name)
    exact = Fraction(factor)
    number: Number = float(exact) if exact.denominator > ROUGH_DENOMINATOR else exact
    return number, tuple(sorted((str(one), int(exponent)) for one, exponent in units._units.items()))


def joined(left: Powers, right: Powers, sign: int = 1) -> Powers:
    """The product (or, with sign -1, the quotient) of two units."""
    powers = dict(left)
    for name, exponent in right:
        powers[name] = powers.get(name, 0) + sign * exponent
    return tuple((name, exponent) for name, exponent in powers.items() if exponent)


def raised(unit: Powers, exponent: int) -> Powers:
    if abs(exponent) > MAX_EXPONENT or any(abs(one * exponent) > MAX_EXPONENT for _, one in unit):
        raise CalculationFailed(f"A unit's exponent is at most {MAX_EXPONENT}.")
    return tuple((name, one * exponent) for name, one in unit if one * exponent)


def dimension(unit: Powers) -> Powers:
    """What a unit measures, in base units."""
    powers: dict[str, int] = {}
    for name, exponent in unit:
        for base, one in _base(name)[1]:
            powers[base] = powers.get(base, 0) + one * exponent
    return tuple(sorted((name, exponent) for name, exponent in powers.items() if exponent))


def factor(unit: Powers) -> Number:
    """How many base units one of `unit` is."""
    found: Number = Fraction(1)
    for name, exponent in unit:
        found = numbers.multiply(found, numbers.power(_base(name)[0], Fraction(exponent)))
    return found


def is_time(measure: Measure) -> bool:
    return dimension(measure.unit) == TIME


def convert(measure: Measure, unit: Powers) -> Measure:
    """The same in another unit. Raises CalculationFailed when they do not measure the same."""
    if dimension(measure.unit) != dimension(unit):
        raise CalculationFailed(
            f"{symbol(measure.unit)} cannot be converted to {symbol(unit)}: they measure different things."
        )
    magnitude = measure.magnitude
    if _temperature(measure.unit) or _temperature(unit):
        kelvin = numbers.multiply(numbers.add(magnitude, _zero(measure.unit)), factor(measure.unit))
        return Measure(numbers.add(numbers.divide(kelvin, factor(unit)), -_zero(unit)), unit, asked=True)
    return Measure(numbers.divide(numbers.multiply(magnitude, factor(measure.unit)), factor(unit)), unit, asked=True)


def add(left: Measure, right: Measure) -> Measure:
    """The sum, in the left one's unit."""
    if _temperature(left.unit) or _temperature(right.unit):
        raise CalculationFailed(
            "Temperatures with a zero of their own (°C, °F) are not added. Convert them instead, as in `20 °C to °F`, "
            "or reckon in kelvin."
        )
    return Measure(numbers.add(left.magnitude, convert(right, left.unit).magnitude), left.unit)


def multiply(left: Measure, right: Measure, sign: int = 1) -> Measure | Number:
    """The product (or, with sign -1, the quotient), in as few units as it takes; a plain number when they cancel."""
    if _temperature(left.unit) or _temperature(right.unit):
        raise CalculationFailed("Temperatures in °C or °F are not multiplied: convert them to kelvin first.")
    work = numbers.multiply if sign > 0 else numbers.divide
    return _reduced(work(left.magnitude, right.magnitude), joined(left.unit, right.unit, sign))


def _reduced(magnitude: Number, unit: Powers) -> Measure | Number:
    """With units of one dimension made one: km·min/h → km."""
    kept: dict[str, int] = {}
    for name, exponent in unit:
        same = next((one for one in kept if _base(one)[1] == _base(name)[1]), None)
        if same is not None and same != name:
            ratio = numbers.divide(_base(name)[0], _base(same)[0])
            magnitude = numbers.multiply(magnitude, numbers.power(ratio, Fraction(exponent)))
        kept[same or name] = kept.get(same or name, 0) + exponent
    left = tuple((name, exponent) for name, exponent in kept.items() if exponent)
    if not dimension(left):
        return numbers.multiply(magnitude, factor(left))
    return Measure(magnitude, left)


def plain(measure: Measure) -> Number:
    """The number in base units."""
    return numbers.multiply(measure.magnitude, factor(measure.unit))


def whole_months(measure: Measure) -> int | None:
    """How many months of the calendar it is, where it was said in months or years."""
    if len(measure.unit) != 1 or measure.unit[0][1] != 1 or measure.unit[0][0] not in MONTHS:
        return None
    months = numbers.multiply(measure.magnitude, Fraction(MONTHS[measure.unit[0][0]]))
    if not isinstance(months, Fraction) or months.denominator != 1:
        raise CalculationFailed("Only whole months are added to a date. Say the rest in days.")
    return int(months)


def symbol(unit: Powers) -> str:
    """As it is written: `km/h`, `kg·m²`."""
    above = "·".join(_raised_symbol(name, exponent) for name, exponent in unit if exponent > 0)
    below = [_raised_symbol(name, -exponent) for name, exponent in unit if exponent < 0]
    if not below:
        return above
    return f"{above or '1'}/{below[0]}" if len(below) == 1 else f"{above or '1'}/({'·'.join(below)})"


def _raised_symbol(name: str, exponent: int) -> str:
    short = {"year": "year", "day": "day"}.get(name) or str(_registry().get_symbol(name))
    return short + ("" if exponent == 1 else str(exponent).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")))


def _temperature(unit: Powers) -> bool:
    return len(unit) == 1 and unit[0][0] in ZEROES and unit[0][1] == 1


def _zero(unit: Powers) -> Fraction:
    return ZEROES.get(unit[0][0], Fraction(0))


def _folded(word: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", word.lower()) if not unicodedata.combining(sign))


def unknown_unit(word: str) -> NotUnderstood:
    return NotUnderstood(f"`{word}` is no unit that is known here.")
