"""`current_datetime`: date and time in any zone, by its name or a city's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BaseModel, Field

from services_node.mcp_server.registry import Call, Registry
from services_node.mcp_server.tools.calculation.calendar import weekday_told
from services_node.mcp_server.tools.dates_told import told_in
from services_node.mcp_server.tools.zones import zone_of

registry = Registry()


class Moment(BaseModel):
    """A moment in a time zone."""

    iso: str = Field(description="ISO 8601 with the offset.")
    date: str
    time: str
    weekday: str = Field(description="In English and Spanish.")
    time_zone: str = Field(description="IANA name.")
    utc_offset: str = Field(description="As +01:00.")
    english: str
    spanish: str

    def text(self) -> str:
        return f"{self.english} · {self.spanish} ({self.time_zone}, UTC{self.utc_offset}; {self.iso})"


@registry.tool(
    title="Date and time",
    read_only=True,
    idempotent=True,
    timeout_seconds=5,
    cost="cheap",
    examples=(
        ("What time is it?", {}),
        ("¿Qué hora es en Tokio?", {"time_zone": "Asia/Tokyo"}),
        ("What is the date in New York?", {"time_zone": "America/New_York"}),
    ),
    keywords={
        "es": (
            "hora",
            "fecha",
            "hoy",
            "día",
            "ahora",
            "mañana",
            "ayer",
            "año",
            "mes",
            "semana",
            "zona",
            "horaria",
            "actual",
        ),
        "en": (
            "time",
            "date",
            "today",
            "now",
            "day",
            "tomorrow",
            "yesterday",
            "year",
            "month",
            "week",
            "zone",
            "current",
        ),
    },
)
async def current_datetime(
    time_zone: Annotated[
        str | None,
        Field(
            max_length=100, description="A zone or city, as Europe/Madrid, Tokyo, UTC or +02:00. Default: the team's."
        ),
    ] = None,
    *,
    call: Call,
) -> Moment:
    """Tells the current date, time and weekday, here or in another time zone."""
    asked = time_zone if time_zone and time_zone.strip() else call.parts.settings.time_zone
    return moment(datetime.now(UTC), asked)


def moment(now: datetime, time_zone: str) -> Moment:
    """`now` (with its zone) as it is told in a zone. Raises ToolFailed for a zone nobody knows."""
    zone, name = zone_of(time_zone)
    local = now.astimezone(zone)
    offset = local.strftime("%z")
    english, spanish = told_in(now, zone)
    return Moment(
        iso=local.isoformat(timespec="seconds"),
        date=local.date().isoformat(),
        time=local.strftime("%H:%M:%S"),
        weekday=weekday_told(local),
        time_zone=name,
        utc_offset=f"{offset[:3]}:{offset[3:5]}",
        english=english,
        spanish=spanish,
    )
