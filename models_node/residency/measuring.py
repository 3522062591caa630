"""Stand-in until the engines' own is here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measurement:
    private_bytes: int
    host_bytes: int
