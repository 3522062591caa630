"""The digest of a day as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from db.reports import Day
from flows.plain_words import plain_line

ASKED_CHARS = 6000  # of it, that a model is asked to sum up


def day_before(moment: datetime, zone: str) -> date:
    """The day before, as the team's clocks have it."""
    return moment.astimezone(ZoneInfo(zone)).date() - timedelta(days=1)


def span_of(day: date, zone: str) -> tuple[datetime, datetime]:
    """A day's beginning and end, in UTC; 23 or 25 hours apart where the clocks change."""
    there = ZoneInfo(zone)
    first, last = (datetime.combine(one, time(), there) for one in (day, day + timedelta(days=1)))
    return first.astimezone(UTC), last.astimezone(UTC)


def digest_told(day: date, zone: str, found: Day, whose: str | None, summary: str) -> str:
    """whose: the owner that it is about; None for everybody. summary: a model's words, or why there are none."""
    about = "everybody" if whose is None else plain_line(whose)
    runs = sum(one.runs for one in found.runs)
    return "\n\n".join(
        [
            f"# {day.isoformat()}",
            f"Of {about}, in the time zone {zone}: {runs} runs, {_count(found, 'completed')} completed, "
            f"{_count(found, 'failed') + _count(found, 'crashed')} failed, {_count(found, 'cancelled')} cancelled.",
            summary,
            "## Conversations",
            _table(
                ("owner", "conversations", "questions", "answers"),
                [(one.owner, one.conversations, one.questions, one.answers) for one in found.said],
            ),
            "## Runs",
            _table(
                ("kind", "origin", "status", "runs", "tokens read", "tokens written"),
                [
                    (one.kind, one.origin, one.status, one.runs, one.prompt_tokens, one.completion_tokens)
                    for one in found.runs
                ],
            ),
            "## Failures",
            _table(
                ("kind", "reason", "runs", "for example"),
                [(one.kind, one.code, one.runs, one.detail or "") for one in found.failures],
            ),
            "## Models",
            _table(
                ("model", "runs", "tokens written", "first token (median)"),
                [(one.model, one.runs, one.completion_tokens, _ms(one.first_token_ms)) for one in found.models],
            ),
            "## Titles",
            "\n".join(_titles(found.titles)) or "None.",
        ]
    )


def is_quiet(found: Day) -> bool:
    return not found.runs and not found.said


def _count(found: Day, status: str) -> int:
    return sum(one.runs for one in found.runs if one.status == status)


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"


def _titles(titles: Sequence[tuple[str, str]]) -> Iterable[str]:
    last = None
    for owner, title in titles:
        if owner != last:
            yield f"- {plain_line(owner)}"
            last = owner
        yield f"  - {plain_line(title)}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return "None."
    lines = [head, ["---"] * len(head), *([plain_line(str(cell)) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
