"""What a flow by name has made ready: how its run begins once it is written, and what that is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prepared:
    """begin: begins the run in hand, or hands it on. kind: of the run, where it is not the flow's name."""

    begin: Callable[[], Awaitable[None]]
    kind: str | None = None
