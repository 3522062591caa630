"""`calculate`: exact arithmetic, units and dates."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from services_node.mcp_server.registry import Call, Registry
from services_node.mcp_server.tools.calculation import calendar, measures, numbers
from services_node.mcp_server.tools.calculation.arithmetic import Percent, Value
from services_node.mcp_server.tools.calculation.errors import CalculationFailed
from services_node.mcp_server.tools.calculation.grammar import Parser, Weekday
from services_node.mcp_server.tools.calculation.measures import Measure
from services_node.mcp_server.tools.calculation.reading import read
from services_node.mcp_server.tools.zones import zone_of

registry = Registry()

MAX_CHARS = 1000
SPELLED_OUT = {"day": "days", "week": "weeks", "month": "months", "year": "years", "decade": "decades",
               "century": "centuries"}  # fmt: skip


class Calculation(BaseModel):
    """What an expression comes to."""

    expression: str = Field(description="As it was asked.")
    result: str = Field(description="The result as text, with its unit.")
    value: int | float | None = Field(description="The nearest number; null for a date or one beyond floats.")
    exact: bool = Field(description="Whether `result` is exact.")
    unit: str | None = Field(None, description="The unit of `value`.")
    kind: Literal["number", "quantity", "date", "duration"] = Field(description="What the result is.")

    def text(self) -> str:
        return f"{self.expression} = {self.result}"


@registry.tool(
    title="Calculator",
    read_only=True,
    idempotent=True,
    timeout_seconds=5,
    cost="cheap",
    examples=(
        ("What is 8 times 9?", {"expression": "8*9"}),
        ("5 * 5 =", {"expression": "5 * 5"}),
        ("¿Cuánto es 7 por 6?", {"expression": "7*6"}),
        ("¿Cuánto es 120 más 45?", {"expression": "120+45"}),
        ("Calcula 30 dividido entre 5", {"expression": "30/5"}),
        ("¿Cuánto es 2 más 5 por 3?", {"expression": "2+5*3"}),
        ("Calculate (2 + 3) * 4", {"expression": "(2+3)*4"}),
        ("What is 20% of 50?", {"expression": "20% of 50"}),
        ("¿Cuánto es el 10% de 70?", {"expression": "10% of 70"}),
        ("¿Cuántas millas son 3 km?", {"expression": "3 km to miles"}),
        ("Convert 20 °C to °F", {"expression": "20 °C to °F"}),
        ("What is the square root of 81?", {"expression": "sqrt(81)"}),
        ("How many days from 2026-03-01 to 2026-04-15?", {"expression": "days between 2026-03-01 and 2026-04-15"}),
        (
            "¿Cuántos días hay entre 2025-05-10 y 2025-06-20?",
            {"expression": "days between 2025-05-10 and 2025-06-20"},
        ),
    ),
    keywords={
        "es": ("calcula", "calcular", "cuánto", "suma", "resta", "multiplica", "divide", "por", "entre", "más", "menos",
               "porcentaje", "raíz", "convierte", "días", "kilómetros", "millas", "grados", "unidades", "iva"),
        "en": ("calculate", "compute", "how much", "add", "subtract", "multiply", "divide", "times", "plus", "minus",
               "percent", "root", "convert", "days", "miles", "units", "sum", "degrees", "math"),
    },
)  # fmt: skip
async def calculate(
    expression: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_CHARS,
            description="As `17 * 23`, `15% of 80`, `sqrt(2)`, `5 km to miles`, `3 h + 25 min`, "
            "`2026-11-27 + 45 days`, `days between 2026-01-01 and 2026-11-27`. log is to the base 10, ln natural; "
            "angles are radians, or 30°.",
        ),
    ],
    *,
    call: Call,
) -> Calculation:
    """Calculates exactly: arithmetic, percentages, functions, unit conversions, dates. English or Spanish."""
    zone, _ = zone_of(call.parts.settings.time_zone)
    # in a thread: the first unit loads Pint, which takes a moment
    return await asyncio.to_thread(evaluate, expression, datetime.now(zone).date())


def evaluate(expression: str, today: date | None = None) -> Calculation:
    """Works an expression out. today: what `today` and `hoy` mean (default: by UTC). Raises CalculationFailed."""
    if len(expression) > MAX_CHARS:
        raise CalculationFailed(f"The expression has {len(expression)} characters; at most {MAX_CHARS} are worked out.")
    asked = expression.strip()
    found = Parser(read(asked), today or datetime.now(UTC).date()).result()
    try:
        return _told(asked, found)
    except OverflowError:
        raise numbers.too_large() from None


def _told(asked: str, found: Value | Weekday) -> Calculation:
    if isinstance(found, Weekday):
        text = f"{calendar.weekday_told(found.day)}, {found.day.isoformat()[:10]}"
        return Calculation(expression=asked, result=text, value=None, exact=True, kind="date")
    if isinstance(found, date):
        return Calculation(expression=asked, result=calendar.told(found), value=None, exact=True, kind="date")
    if isinstance(found, Measure):
        return _measure_told(asked, found)
    number, unit = (found.hundredths, "%") if isinstance(found, Percent) else (found, None)
    text, exact = numbers.told(number)
    return Calculation(
        expression=asked,
        result=text + (unit or ""),
        value=numbers.json_number(number),
        exact=exact,
        unit=unit,
        kind="number",
    )


def _measure_told(asked: str, found: Measure) -> Calculation:
    duration = measures.is_time(found)
    text, exact = numbers.told(found.magnitude)
    if "/" in text:  # of a quantity nobody reads a fraction
        text, exact = text[text.index("≈") :], False
    symbol = measures.symbol(found.unit)
    if symbol in SPELLED_OUT and text != "1":
        symbol = SPELLED_OUT[symbol]
    result = f"{text} {symbol}"
    if (
        duration
        and not found.asked
        and len(found.unit) == 1
        and found.unit[0][0] in ("second", "minute", "hour", "day")
    ):
        seconds = measures.plain(found)
        result = calendar.duration_told(seconds)
        exact = isinstance(seconds, Fraction) and seconds.denominator == 1
    return Calculation(
        expression=asked,
        result=result,
        value=numbers.json_number(found.magnitude),
        exact=exact,
        unit=symbol,
        kind="duration" if duration else "quantity",
    )
