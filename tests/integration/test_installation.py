"""The tests' own installations, which may start at once."""

from __future__ import annotations

from installation import reserve_offset


def test_an_offset_is_nobody_elses_before_its_services_listen() -> None:
    first, lock = reserve_offset()
    second, other_lock = reserve_offset()
    try:
        assert first != second
    finally:
        lock.close()
        other_lock.close()
