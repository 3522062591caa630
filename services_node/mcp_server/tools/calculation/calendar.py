"""Dates: reading them, moving them, and what lies between two."""

from __future__ import annotations

import calendar
from datetime import date, datetime, timedelta
from fractions import Fraction

from services_node.mcp_server.tools.calculation import measures, numbers
from services_node.mcp_server.tools.calculation.errors import CalculationFailed, NotUnderstood
from services_node.mcp_server.tools.calculation.measures import Measure
from services_node.mcp_server.tools.calculation.numbers import Number
from wire.dates import WEEKDAYS

Day = date | datetime
BEYOND = "Dates go from the year 1 to the year 9999."


def read_iso(text: str) -> Day:
    """`2026-11-27` or `2026-11-27 14:30[:00]`. Raises NotUnderstood for a day that does not exist."""
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text)
    except ValueError:
        raise NotUnderstood(f"`{text}` is no date (year-month-day).") from None


def read_slashed(text: str) -> date:
    """`27/11/2026`, where only one order is possible."""
    first, second, year = (int(part) for part in text.split("/"))
    if first != second and first <= 12 and second <= 12:
        raise CalculationFailed(
            f"`{text}` can be read as two dates. Write it as {year:04d}-{second:02d}-{first:02d} "
            f"or {year:04d}-{first:02d}-{second:02d}."
        )
    return made(year, second, first) if second <= 12 else made(year, first, second)


def made(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise NotUnderstood(f"{year:04d}-{month:02d}-{day:02d} is no date.") from None


def moved(day: Day, by: Measure, sign: int = 1) -> Day:
    """A date and so much time later: months and years by the calendar (31 January + 1 month = 28 February)."""
    months = measures.whole_months(by)
    try:
        if months is not None:
            return _months_later(day, sign * months)
        if not measures.is_time(by):
            raise CalculationFailed("Only days, weeks, months, years or hours are added to a date.")
        seconds = measures.plain(by)
        whole_days = numbers.divide(seconds, Fraction(86400))
        if isinstance(whole_days, Fraction) and whole_days.denominator == 1:
            return day + timedelta(days=sign * int(whole_days))
        exact = day if isinstance(day, datetime) else datetime(day.year, day.month, day.day)
        return exact + timedelta(seconds=sign * float(seconds))
    except OverflowError:
        raise CalculationFailed(BEYOND) from None


def _months_later(day: Day, months: int) -> Day:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise CalculationFailed(BEYOND)
    return day.replace(year=year, month=month + 1, day=min(day.day, calendar.monthrange(year, month + 1)[1]))


def between(first: Day, second: Day, unit: str = "day") -> Measure:
    """From one date to another, negative when it goes back; months and years only in whole ones of the calendar."""
    if unit in measures.MONTHS:
        return Measure(Fraction(_whole_months(first, second) // measures.MONTHS[unit]), ((unit, 1),), asked=True)
    seconds = Fraction(_instant(second) - _instant(first))
    found = measures.convert(Measure(seconds, measures.TIME), ((unit, 1),))
    return Measure(found.magnitude, found.unit, asked=True)


def _whole_months(first: Day, second: Day) -> int:
    if _instant(second) < _instant(first):
        return -_whole_months(second, first)
    months = (second.year - first.year) * 12 + second.month - first.month
    return months - (1 if _instant(_months_later(first, months)) > _instant(second) else 0)


def _instant(day: Day) -> int:
    """Seconds since the year 1."""
    seconds = day.toordinal() * 86400
    return seconds + (day.hour * 3600 + day.minute * 60 + day.second if isinstance(day, datetime) else 0)


def weekday_told(day: Day) -> str:
    return f"{WEEKDAYS['en'][day.weekday()]} ({WEEKDAYS['es'][day.weekday()]})"


def told(day: Day) -> str:
    text = day.isoformat(sep=" ", timespec="minutes") if isinstance(day, datetime) else day.isoformat()
    return f"{text}, {weekday_told(day)}"


def duration_told(seconds: Number) -> str:
    """`3 h 25 min`; seconds with what they have of decimals."""
    if isinstance(seconds, float):
        seconds = Fraction(round(seconds, 6)).limit_denominator(10**6)
    left, words = abs(seconds), []
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {name}")
    if left or not words:
        words.append(f"{numbers.told(Fraction(left))[0]} s")
    return ("-" if seconds < 0 else "") + " ".join(words)
