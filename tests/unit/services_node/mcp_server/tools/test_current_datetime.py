"""The time in zones by what people call them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services_node.mcp_server.errors import ToolFailed
from services_node.mcp_server.tools.current_datetime import moment

NOW = datetime(2026, 11, 27, 23, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "zone", "time", "offset"),
    [
        ("Europe/Madrid", "Europe/Madrid", "00:30:00", "+01:00"),
        ("Madrid", "Europe/Madrid", "00:30:00", "+01:00"),
        ("España", "Europe/Madrid", "00:30:00", "+01:00"),
        ("hora de México", "America/Mexico_City", "17:30:00", "-06:00"),
        ("current time in New York?", "America/New_York", "18:30:00", "-05:00"),
        ("hora local de Nueva York", "America/New_York", "18:30:00", "-05:00"),
        ("São Paulo", "America/Sao_Paulo", "20:30:00", "-03:00"),
        ("tokio", "Asia/Tokyo", "08:30:00", "+09:00"),
        ("Paris, France", "Europe/Paris", "00:30:00", "+01:00"),
        ("utc", "UTC", "23:30:00", "+00:00"),
        ("UTC+5:30", "UTC+05:30", "05:00:00", "+05:30"),
        ("-03:00", "UTC-03:00", "20:30:00", "-03:00"),
    ],
)
def test_a_zone_is_known_by_its_name_a_city_a_country_or_its_offset(
    asked: str, zone: str, time: str, offset: str
) -> None:
    found = moment(NOW, asked)
    assert (found.time_zone, found.time, found.utc_offset) == (zone, time, offset)


def test_a_moment_is_told_in_both_languages() -> None:
    found = moment(NOW, "Madrid")
    assert found.iso == "2026-11-28T00:30:00+01:00" and found.weekday == "Saturday (sábado)"
    assert "Saturday, 28 November 2026, 00:30" in found.text()
    assert "sábado, 28 de noviembre de 2026, 00:30" in found.text()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ("Madird", "Did you mean Europe/Madrid"),
        ("+99:00", "offset"),
        ("../../etc/passwd", "no time zone"),
        ("?", "no time"),
    ],
)
def test_a_zone_nobody_knows_is_refused_with_the_nearest(asked: str, reason: str) -> None:
    with pytest.raises(ToolFailed, match=reason):
        moment(NOW, asked)
