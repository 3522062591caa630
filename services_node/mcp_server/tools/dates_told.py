"""A moment in words, in both languages."""

from __future__ import annotations

from datetime import datetime, tzinfo

from services_node.mcp_server.tools.calculation.vocabulary import WEEKDAYS

MONTHS = (
    ("January", "enero"), ("February", "febrero"), ("March", "marzo"), ("April", "abril"), ("May", "mayo"),
    ("June", "junio"), ("July", "julio"), ("August", "agosto"), ("September", "septiembre"), ("October", "octubre"),
    ("November", "noviembre"), ("December", "diciembre"),
)  # fmt: skip


def told_in(now: datetime, zone: tzinfo) -> tuple[str, str]:
    """`Friday, 27 November 2026, 09:30`, in English and in Spanish."""
    local = now.astimezone(zone)
    english, spanish = WEEKDAYS[local.weekday()]
    month_english, month_spanish = MONTHS[local.month - 1]
    clock = local.strftime("%H:%M")
    return (
        f"{english}, {local.day} {month_english} {local.year}, {clock}",
        f"{spanish}, {local.day} de {month_spanish} de {local.year}, {clock}",
    )
