"""Numbers: fractions while that is exact, floats (about 15 digits) once it can't be. Every result is bounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction

from services_node.mcp_server.tools.calculation.errors import CalculationFailed

Number = Fraction | float

MAX_DIGITS = 4000  # of a numerator or denominator: below what Python converts to text
MAX_BITS = int(MAX_DIGITS * 3.3219)
MAX_ROOT = 64
MAX_ROOT_BITS = 2000  # the search for an exact root of a longer one would take long
SHOWN_DIGITS = 30  # a decimal is written out so far
ROUGH_DIGITS = 12  # of what is approximate
LARGEST_INTEGER = 2**53  # beyond, a JSON number is not exact
SMALLEST_SHOWN = Fraction(1, 10**SHOWN_DIGITS)


def bounded(value: Number) -> Number:
    """The same value. Raises CalculationFailed for one that is too large, or none."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CalculationFailed("The result is not a finite number.")
        return value
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise too_large()
    return value


def too_large() -> CalculationFailed:
    return CalculationFailed(f"The result is too large: numbers have at most {MAX_DIGITS} digits.")


def rough(value: Number) -> float:
    """As a float. Raises CalculationFailed where none is large enough."""
    try:
        return float(value)
    except OverflowError:
        raise CalculationFailed("This number is too large for a function that is worked out approximately.") from None


def add(left: Number, right: Number) -> Number:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return bounded(left + right)
    return bounded(rough(left) + rough(right))


def multiply(left: Number, right: Number) -> Number:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return bounded(left * right)
    return bounded(rough(left) * rough(right))


def divide(left: Number, right: Number) -> Number:
    if right == 0:
        raise CalculationFailed("Division by zero has no result.")
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return bounded(left / right)
    return bounded(rough(left) / rough(right))


def floor_divide(left: Number, right: Number) -> Number:
    return Fraction(math.floor(divide(left, right)))


def modulo(left: Number, right: Number) -> Number:
    """What floor division leaves: it has the sign of `right`."""
    return add(left, -multiply(right, floor_divide(left, right)))


def power(base: Number, exponent: Number) -> Number:
    """Exact where it is a fraction. Raises CalculationFailed for what is too large, or no real number."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            return _whole_power(base, exponent.numerator)
        if base >= 0 and exponent.denominator <= MAX_ROOT and (found := root(base, exponent.denominator)) is not None:
            return _whole_power(found, exponent.numerator)
    if base < 0:
        raise CalculationFailed("A negative number to a power that is not whole is no real number.")
    if base == 0 and exponent < 0:
        raise CalculationFailed("Zero to a negative power has no result.")
    return approximately(math.pow, base, exponent)


def _whole_power(base: Fraction, exponent: int) -> Fraction:
    if base == 0 and exponent < 0:
        raise CalculationFailed("Zero to a negative power has no result.")
    if base in (0, 1, -1):
        return base ** (exponent % 2 if base == -1 else min(exponent, 1) if exponent >= 0 else 1)
    if abs(exponent) * (max(base.numerator.bit_length(), base.denominator.bit_length()) - 1) > MAX_BITS:
        raise too_large()
    found = base**exponent
    bounded(found)
    return found


def root(value: Fraction, degree: int) -> Fraction | None:
    """The exact root of a fraction that is not negative, or None when it has none."""
    top, bottom = _whole_root(value.numerator, degree), _whole_root(value.denominator, degree)
    return None if top is None or bottom is None else Fraction(top, bottom)


def _whole_root(value: int, degree: int) -> int | None:
    if value.bit_length() > MAX_ROOT_BITS:
        return None
    if degree == 2:
        found = math.isqrt(value)
        return found if found * found == value else None
    low, high = 0, 1 << (value.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        if middle**degree <= value:
            low = middle
        else:
            high = middle - 1
    return low if low**degree == value else None


def approximately(work: Callable[..., float], *values: Number) -> float:
    """What a function of floats says. Raises CalculationFailed where it has no real result."""
    try:
        found = float(work(*(rough(value) for value in values)))
    except (ValueError, ZeroDivisionError):
        raise CalculationFailed("A function has no real result for this argument.") from None
    except OverflowError:
        raise too_large() from None
    bounded(found)
    return found


def told(value: Number) -> tuple[str, bool]:
    """A number as text, and whether the text says it exactly. Raises CalculationFailed for one too long to write."""
    if isinstance(value, float):
        return _rough_text(value), False
    try:
        return _told_fraction(value)
    except ValueError:  # more digits than Python writes
        raise too_large() from None


def _told_fraction(value: Fraction) -> tuple[str, bool]:
    if value.denominator == 1:
        return str(value.numerator), True
    decimal = _terminating(value)
    if decimal is not None:
        return decimal, True
    if value.denominator <= 1000 and abs(value.numerator) < 10**9:
        return f"{value} ≈ {_rough_text(value)}", True
    return f"≈ {_rough_text(value)}", False


def json_number(value: Number) -> int | float | None:
    """The nearest JSON number, or None where there is none."""
    if isinstance(value, Fraction) and value.denominator == 1 and abs(value) <= LARGEST_INTEGER:
        return value.numerator
    try:
        return float(value)
    except OverflowError:
        return None


def _terminating(value: Fraction) -> str | None:
    """A fraction with at most SHOWN_DIGITS decimals, written out."""
    if (10**SHOWN_DIGITS) % value.denominator:
        return None
    scaled = str(abs(value.numerator) * (10**SHOWN_DIGITS) // value.denominator).zfill(SHOWN_DIGITS + 1)
    sign = "-" if value < 0 else ""
    return f"{sign}{scaled[:-SHOWN_DIGITS]}.{scaled[-SHOWN_DIGITS:].rstrip('0')}"


def _rough_text(value: Number) -> str:
    with localcontext() as context:
        context.prec = ROUGH_DIGITS
        fraction = Fraction(value)
        decimal = Decimal(fraction.numerator) / Decimal(fraction.denominator)
    if decimal == 0:
        return "0"
    if -6 <= decimal.adjusted() < 15:
        text = f"{decimal:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    digits, exponent = f"{decimal:e}".lower().split("e")
    return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits}e{int(exponent)}"
