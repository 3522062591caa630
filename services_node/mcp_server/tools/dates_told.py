"""A moment in words, in both languages."""

from __future__ import annotations

from datetime import datetime, tzinfo

from wire.dates import MONTHS, WEEKDAYS


def told_in(now: datetime, zone: tzinfo) -> tuple[str, str]:
    """`Friday, 27 November 2026, 09:30`, in English and in Spanish."""
    local = now.astimezone(zone)
    day, month, clock = local.weekday(), local.month - 1, local.strftime("%H:%M")
    return (
        f"{WEEKDAYS['en'][day]}, {local.day} {MONTHS['en'][month]} {local.year}, {clock}",
        f"{WEEKDAYS['es'][day]}, {local.day} de {MONTHS['es'][month]} de {local.year}, {clock}",
    )
