"""Run ids: UUID version 7 (RFC 9562 §5.7), so that ids sort by time of creation."""

from __future__ import annotations

import os
import time
import uuid


def uuid7() -> uuid.UUID:
    """48 bits of milliseconds since 1970, then 74 random bits. (Python's own `uuid.uuid7` comes with 3.14.)"""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = (milliseconds & (2**48 - 1)) << 80 | random
    value = value & ~(0xF << 76) | 0x7 << 76  # version
    value = value & ~(0x3 << 62) | 0x2 << 62  # variant
    return uuid.UUID(int=value)


def parse_run_id(text: str | None) -> uuid.UUID | None:
    """A run id another service sent, or None when it is no UUID."""
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None
