"""The functions a calculation may call: exact where the result is a fraction, else worked out on floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from services_node.mcp_server.tools.calculation import numbers
from services_node.mcp_server.tools.calculation.errors import CalculationFailed
from services_node.mcp_server.tools.calculation.numbers import Number

MAX_ROUNDING = 30


@dataclass(frozen=True, slots=True)
class Function:
    """arguments: how few and how many it takes. work: given that many numbers."""

    arguments: tuple[int, int]
    work: Callable[..., Number]


def whole(value: Number, name: str) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1:
        raise CalculationFailed(f"`{name}` takes whole numbers.")
    return value.numerator


def square_root(value: Number) -> Number:
    if value < 0:
        raise CalculationFailed("A negative number has no real square root.")
    return numbers.power(value, Fraction(1, 2))


def cube_root(value: Number) -> Number:
    sign = -1 if value < 0 else 1
    size: Number = -value if value < 0 else value
    return numbers.multiply(Fraction(sign), numbers.power(size, Fraction(1, 3)))


def rounded(value: Number, digits: Number = Fraction(0)) -> Number:
    """Half away from zero, as it is taught in schools."""
    places = whole(digits, "round")
    if abs(places) > MAX_ROUNDING:
        raise CalculationFailed(f"`round` takes at most {MAX_ROUNDING} decimals.")
    scale = Fraction(10) ** places
    scaled = Fraction(value) * scale
    return Fraction(math.floor(abs(scaled) + Fraction(1, 2)) * (-1 if scaled < 0 else 1)) / scale


def factorial(value: Number) -> Number:
    number = whole(value, "factorial")
    if number < 0:
        raise CalculationFailed("`factorial` takes numbers from 0 on.")
    if number > numbers.MAX_DIGITS or math.lgamma(number + 1) > numbers.MAX_DIGITS * math.log(10):
        raise numbers.too_large()
    return Fraction(math.factorial(number))


def choices(all_: Number, chosen: Number) -> Number:
    return _counted("comb", math.comb, all_, chosen)


def arrangements(all_: Number, chosen: Number) -> Number:
    return _counted("perm", math.perm, all_, chosen)


def _counted(name: str, work: Callable[[int, int], int], all_: Number, chosen: Number) -> Number:
    number, picked = whole(all_, name), whole(chosen, name)
    if number < 0 or picked < 0:
        raise CalculationFailed(f"`{name}` takes numbers from 0 on.")
    if min(picked, number) * number.bit_length() > numbers.MAX_BITS:
        raise numbers.too_large()
    return numbers.bounded(Fraction(work(number, picked)))


def logarithm(value: Number, base: Number = Fraction(10)) -> Number:
    """To the base 10 unless another is given; exact where the result is whole."""
    if value <= 0 or base <= 0 or base == 1:
        raise CalculationFailed("A logarithm takes numbers above zero, and a base that is not 1.")
    found = _log(value) / _log(base)
    nearest = round(found)
    if isinstance(value, Fraction) and isinstance(base, Fraction) and abs(nearest) < numbers.MAX_BITS:
        try:
            if numbers.power(base, Fraction(nearest)) == value:
                return Fraction(nearest)
        except CalculationFailed:
            pass
    return numbers.bounded(found)


def natural(value: Number) -> Number:
    if value <= 0:
        raise CalculationFailed("A logarithm takes numbers above zero.")
    return Fraction(0) if value == 1 else _log(value)


def _log(value: Number) -> float:
    if isinstance(value, Fraction):  # a float may not hold it, its logarithm does
        return math.log(value.numerator) - math.log(value.denominator)
    return math.log(value)


def _rough(work: Callable[..., float]) -> Callable[..., Number]:
    return lambda *values: numbers.approximately(work, *values)


def total(*values: Number) -> Number:
    found: Number = Fraction(0)
    for value in values:
        found = numbers.add(found, value)
    return found


def product(*values: Number) -> Number:
    found: Number = Fraction(1)
    for value in values:
        found = numbers.multiply(found, value)
    return found


def mean(*values: Number) -> Number:
    return numbers.divide(total(*values), Fraction(len(values)))


def median(*values: Number) -> Number:
    ordered: Sequence[Number] = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else mean(ordered[middle - 1], ordered[middle])


def common_divisor(*values: Number) -> Number:
    return Fraction(math.gcd(*(whole(value, "gcd") for value in values)))


def common_multiple(*values: Number) -> Number:
    found = 1
    for value in values:
        found = math.lcm(found, whole(value, "lcm"))
        numbers.bounded(Fraction(found))
    return Fraction(found)


MANY = 200
FUNCTIONS = {
    "sqrt": Function((1, 1), square_root),
    "cbrt": Function((1, 1), cube_root),
    "abs": Function((1, 1), abs),
    "round": Function((1, 2), rounded),
    "floor": Function((1, 1), lambda value: Fraction(math.floor(value))),
    "ceil": Function((1, 1), lambda value: Fraction(math.ceil(value))),
    "trunc": Function((1, 1), lambda value: Fraction(math.trunc(value))),
    "min": Function((1, MANY), min),
    "max": Function((1, MANY), max),
    "sum": Function((1, MANY), total),
    "product": Function((1, MANY), product),
    "mean": Function((1, MANY), mean),
    "median": Function((1, MANY), median),
    "factorial": Function((1, 1), factorial),
    "gcd": Function((1, MANY), common_divisor),
    "lcm": Function((1, MANY), common_multiple),
    "comb": Function((2, 2), choices),
    "perm": Function((2, 2), arrangements),
    "pow": Function((2, 2), numbers.power),
    "mod": Function((2, 2), numbers.modulo),
    "exp": Function((1, 1), _rough(math.exp)),
    "log": Function((1, 2), logarithm),
    "log10": Function((1, 1), logarithm),
    "log2": Function((1, 1), lambda value: logarithm(value, Fraction(2))),
    "ln": Function((1, 1), natural),
    "hypot": Function((2, 2), lambda a, b: square_root(numbers.add(numbers.multiply(a, a), numbers.multiply(b, b)))),
    **{
        name: Function((1, 1), _rough(getattr(math, name)))
        for name in ("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh")
    },
}
SAME_UNIT = frozenset({"abs", "min", "max", "sum", "mean", "median"})  # these take quantities too
CONSTANTS: dict[str, Number] = {
    "pi": math.pi, "π": math.pi, "e": math.e, "tau": math.tau, "τ": math.tau, "phi": (1 + 5**0.5) / 2,
}  # fmt: skip
