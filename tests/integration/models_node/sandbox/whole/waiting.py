from __future__ import annotations

import time
from collections.abc import Callable


def until(holds: Callable[[], bool], seconds: float, explain: Callable[[], str] = lambda: "") -> None:
    """Waits until something holds; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {explain()}"
        time.sleep(0.05)
