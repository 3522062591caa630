"""The calculator: what is understood, that it is exact, and what is refused in words."""

from __future__ import annotations

import math
from datetime import date
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services_node.mcp_server.errors import ToolFailed
from services_node.mcp_server.tools.calculate import MAX_CHARS, evaluate
from services_node.mcp_server.tools.calculation import numbers

TODAY = date(2026, 11, 27)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("17*23", "391"),
        ("0.1 + 0.2", "0.3"),
        ("1/3", "1/3 ≈ 0.333333333333"),
        ("-2^2", "-4"),
        ("2^3^2", "512"),
        ("2**-1", "0.5"),
        ("-7 % 3", "2"),
        ("7 // 2", "3"),
        ("2^100", "1267650600228229401496703205376"),
        ("100!/98!", "9900"),
        ("sqrt(16/9)", "4/3 ≈ 1.33333333333"),
        ("sqrt 16 + 9", "13"),
        ("cbrt(-8)", "-2"),
        ("round(2.5)", "3"),
        ("round(-2.5)", "-3"),
        ("round(3.14159, 2)", "3.14"),
        ("log(1000)", "3"),
        ("log(8, 2)", "3"),
        ("gcd(12, 18) + lcm(4, 6)", "18"),
        ("max(1,5,3)", "5"),
        ("sum([1, 2, 3])", "6"),
        ("median(3, 1, 2)", "2"),
        ("2(3+4)", "14"),
        ("0x1F + 1e3", "1031"),
        ("1.5 million * 2", "3000000"),
    ],
)
def test_arithmetic_is_exact(expression: str, result: str) -> None:
    found = evaluate(expression)
    assert (found.result, found.exact, found.kind) == (result, True, "number")


@pytest.mark.parametrize(
    "expression",
    [
        "17*23=", "What is 17*23?", "17 x 23", "17x23", "17×23", "17 times 23", "17 por 23", "¿Cuánto es 17 por 23?",
        r"$17 \times 23$", r"\(17 \cdot 23\)", "`17 * 23`", "result = 17 * 23", "17*23 = ?", "17*23=391",
        "Calculate 17*23.",
        "seventeen times 23", "diecisiete por 23", "how much is 17 multiplied by 23", "calcula 17 multiplicado por 23",
        "17 ∗ 23 por favor",
    ],
)  # fmt: skip
def test_a_question_may_be_put_as_people_and_small_models_put_it(expression: str) -> None:
    assert evaluate(expression).value == 391


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("15% of 80", 12),
        ("15% de 80", 12),
        ("¿Cuánto es el 15 por ciento de 80?", 12),
        ("80 + 15%", 92),
        ("200 - 10%", 180),
        ("100 + 50 * 10%", 105),
        ("20% off 50", 40),
        ("30% + 5%", 35),
        ("20 is what percent of 80", 25),
        ("qué porcentaje es 20 de 80", 25),
        ("17 % 5", 2),
        ("10 entre 4", 2.5),
        ("10 dividido entre 4", 2.5),
        ("2 elevado a la 10", 1024),
        ("5 al cuadrado menos 1", 24),
        ("raíz cuadrada de 144", 12),
        ("square root of 144 + 1", 13),
        ("suma de 3, 4 y 5", 12),
        ("average of 1, 2 and 6", 3),
        ("mcd de 12 y 18", 6),
        (r"\frac{1}{2} + \sqrt{16}", 4.5),
    ],
)
def test_words_and_percentages_of_both_languages_mean_what_they_say(expression: str, value: float) -> None:
    assert evaluate(expression).value == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1,234.5 + 1", 1235.5),
        ("1.234,5 + 1", 1235.5),
        ("1,234,567 + 1", 1234568),
        ("1.234.567 + 1", 1234568),
        ("1,234 + 2,345.5", 3579.5),
        ("1.234 + 2,5", 1236.5),
        ("0,125 * 8", 1),
        ("3.142 * 2", 6.284),
        ("1_000 * 2", 2000),
        ("21% de 350,50", 73.605),
    ],
)
def test_separators_of_both_languages_are_read_where_they_can_mean_one_thing(expression: str, value: float) -> None:
    assert evaluate(expression).value == value


@pytest.mark.parametrize("expression", ["1,234 + 1", "max(1,234.5, 3)", "11/12/2026 + 1 day"])
def test_what_can_be_read_in_two_ways_is_asked_back(expression: str) -> None:
    with pytest.raises(ToolFailed, match="can be read"):
        evaluate(expression)


@pytest.mark.parametrize(
    ("expression", "result", "kind"),
    [
        ("5 km in miles", "≈ 3.10685596119 mi", "quantity"),
        ("5 km en millas", "≈ 3.10685596119 mi", "quantity"),
        ("cuántas millas son 5 km", "≈ 3.10685596119 mi", "quantity"),
        ("how many meters are in a mile", "1609.344 m", "quantity"),
        ("20 °C to °F", "68 °F", "quantity"),
        ("-40 °F to °C", "-40 °C", "quantity"),
        ("20 grados celsius a fahrenheit", "68 °F", "quantity"),
        ("60 km/h * 90 min", "90 km", "quantity"),
        ("60 km por hora por 90 minutos", "90 km", "quantity"),
        ("100 km / 2 h", "50 km/h", "quantity"),
        ("2 m2 in cm^2", "20000 cm²", "quantity"),
        ("10 kg * 9.8 m/s^2 in N", "98 N", "quantity"),
        ("1/2 km in m", "500 m", "quantity"),
        ("5 in in cm", "12.7 cm", "quantity"),
        ("6 ft 2 in to cm", "187.96 cm", "quantity"),
        ("min(3 km, 500 m)", "0.5 km", "quantity"),
        ("5 GB in MB", "5000 MB", "quantity"),
        ("$20 * 3", "60 USD", "quantity"),
        ("3 h + 25 min", "3 h 25 min", "duration"),
        ("3 h 25 min", "3 h 25 min", "duration"),
        ("14:30 + 45 min", "15 h 15 min", "duration"),
        ("2 h 30 min en minutos", "150 min", "duration"),
    ],
)
def test_quantities_keep_their_units(expression: str, result: str, kind: str) -> None:
    found = evaluate(expression)
    assert (found.result, found.kind) == (result, kind)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("2026-11-27 + 45 days", "2027-01-11, Monday (lunes)"),
        ("2026-11-27 más 45 días", "2027-01-11, Monday (lunes)"),
        ("45 days after 2026-11-27", "2027-01-11, Monday (lunes)"),
        ("2026-01-31 + 1 month", "2026-02-28, Saturday (sábado)"),
        ("2024-02-29 + 1 year", "2025-02-28, Friday (viernes)"),
        ("today + 2 weeks", "2026-12-11, Friday (viernes)"),
        ("hace 45 días", "2026-10-13, Tuesday (martes)"),
        ("2026-11-27 22:00 + 3 h", "2026-11-28 01:00, Saturday (sábado)"),
        ("27/11/2026 + 1 day", "2026-11-28, Saturday (sábado)"),
        ("weekday of 2026-11-27", "Friday (viernes), 2026-11-27"),
        ("¿Qué día de la semana es el 27 de noviembre de 2026?", "Friday (viernes), 2026-11-27"),
        ("days between 2026-01-01 and 2026-11-27", "330 days"),
        ("¿Cuántos días hay entre 2026-01-01 y 2026-11-27?", "330 days"),
        ("días desde 2026-01-01 hasta 2026-11-27", "330 days"),
        ("2026-11-27 - 2026-01-01", "330 days"),
        ("days until December 25, 2026", "28 days"),
        ("meses entre 2026-01-15 y 2026-11-14", "9 months"),
        ("años desde 1990-05-02", "36 years"),
    ],
)
def test_dates_are_reckoned_by_the_calendar(expression: str, result: str) -> None:
    assert evaluate(expression, TODAY).result == result


@pytest.mark.parametrize(
    ("expression", "value"), [("sqrt(2)", 2**0.5), ("sin(30°)", 0.5), ("2pi", math.tau), ("ln(10)", math.log(10))]
)
def test_what_is_worked_out_on_floats_says_so(expression: str, value: float) -> None:
    found = evaluate(expression)
    assert found.exact is False and found.value == pytest.approx(value)


@pytest.mark.parametrize(
    "expression",
    [
        "9^9^9^9", "factorial(10^9)", "10^4001", "1e999999", "2^99999999999", "0.5^99999999", "170! ^ 170",
        "comb(9999, 5000)",
        "lcm(" + ",".join(str(n) for n in range(2, 200)) + ")^999", "exp(10000)", "9" * 600 + "^9",
    ],
)  # fmt: skip
def test_what_would_be_too_large_is_refused_before_it_is_worked_out(expression: str) -> None:
    with pytest.raises(ToolFailed, match=r"too large|out of bounds|not a finite|characters"):
        evaluate(expression)


@pytest.mark.parametrize(
    "expression", ["(" * 300 + "1" + ")" * 300, "-" * 500 + "1", "sum(" + "[" * 200 + "1" + "]" * 200 + ")"]
)
def test_what_is_nested_too_deeply_is_refused(expression: str) -> None:
    with pytest.raises(ToolFailed, match="nested too deeply"):
        evaluate(expression)


@pytest.mark.parametrize("expression", ["1e0000000001000000000", "1e-0000000001000000000", "1e" + "9" * 900])
def test_zeros_in_front_of_an_exponent_hide_nothing(expression: str) -> None:
    with pytest.raises(ToolFailed):
        evaluate(expression)


def test_a_number_within_an_expression_is_bounded_like_a_result() -> None:
    with pytest.raises(ToolFailed, match="too large"):
        evaluate(f"0.{'7' * 900}e-3900 * 0")
    assert evaluate("1e0000000003").value == 1000


def test_a_number_longer_than_python_writes_is_refused_in_words() -> None:
    with pytest.raises(ToolFailed, match="too large"):
        numbers.told(Fraction(10**5000))


def test_a_long_expression_is_refused() -> None:
    with pytest.raises(ToolFailed, match=str(MAX_CHARS)):
        evaluate("1+" * MAX_CHARS + "1")


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "nothing to calculate"),
        ("hello", "`hello` is not understood.*Examples"),
        ("__import__('os').system('x')", "not understood"),
        ("import os", "not understood"),
        ("(1).__class__", "not understood"),
        ("1 +", "breaks off"),
        ("(1 + 2", r"`\)` is missing"),
        ("5 * * 3", "not understood"),
        ("1 2", "`2` is not understood"),
        ("2x+3=7", "equation"),
        ("sqrt(1, 2)", "takes 1 argument"),
        ("1/0", "zero"),
        ("0^-1", "[Zz]ero"),
        ("sqrt(-1)", "no real"),
        ("log(0)", "above zero"),
        ("5 km + 3 kg", "measure different things"),
        ("5 km + 3", "both need a unit"),
        ("20 °C + 5 °C", "not added"),
        ("5 to flurbs", "`flurbs` is no unit"),
        ("5 kg cm in s", "plain number is expected"),
        ("2026-02-30 + 1 day", "no date"),
        ("2026-01-01 + 9999999999 days", "year 9999"),
        ("2026-01-01 + 3", "unit"),
        ("weekday of 5", "date"),
        ("\x00\ud800", "not understood"),
    ],
)
def test_what_is_not_understood_is_named(expression: str, reason: str) -> None:
    with pytest.raises(ToolFailed, match=reason):
        evaluate(expression)


def sums(depth: int) -> st.SearchStrategy[tuple[str, Fraction]]:
    """Expressions with what Python's fractions make of them."""
    leaves = st.decimals(min_value=0, max_value=10**6, places=2).map(lambda one: (f"{one:f}", Fraction(one)))
    if depth == 0:
        return leaves
    return st.one_of(leaves, st.builds(joined, st.sampled_from("+-*/"), sums(depth - 1), sums(depth - 1)))


def joined(sign: str, left: tuple[str, Fraction], right: tuple[str, Fraction]) -> tuple[str, Fraction]:
    if sign == "/" and right[1] == 0:
        sign = "+"
    work: Any = {"+": Fraction.__add__, "-": Fraction.__sub__, "*": Fraction.__mul__, "/": Fraction.__truediv__}[sign]
    return f"({left[0]} {sign} {right[0]})", work(left[1], right[1])


@given(sums(4))
@settings(max_examples=40, deadline=None)
def test_every_sum_is_what_fractions_say(written: tuple[str, Fraction]) -> None:
    expression, value = written
    found = evaluate(expression)
    assert found.result == numbers.told(value)[0]
    assert found.value == pytest.approx(float(value))


@given(st.text(alphabet="0123456789.,()+-*/^%!= xkmhe¿?áñ°'\\{}[];:$", max_size=30))
@settings(max_examples=100, deadline=None)
def test_no_text_does_worse_than_being_refused(expression: str) -> None:
    try:
        found = evaluate(expression, TODAY)
    except ToolFailed as refused:
        assert refused.reason
    else:
        assert found.result
