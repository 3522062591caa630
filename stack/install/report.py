"""Progress of long steps, in plain lines that read well in a terminal and in a log. Standard library only."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERVAL_SECONDS = 15

_printing = threading.Lock()


def say(line: str) -> None:
    """One line on standard error: standard output is kept for what programs read."""
    with _printing:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def elapsed(since: float) -> str:
    seconds = time.monotonic() - since
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


@contextmanager
def long_step(what: str, progress: Callable[[], str] | None = None) -> Iterator[None]:
    """Says when a step begins, that it still goes on (with `progress()`, every 15 s), and how long it took."""
    began = time.monotonic()
    finished = threading.Event()

    def tell() -> None:
        while not finished.wait(INTERVAL_SECONDS):
            more = progress() if progress else ""
            say(f"  … {what}: {elapsed(began)}{', ' + more if more else ''}")

    say(f"  · {what}")
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    except BaseException:
        say(f"  ✗ {what}: stopped after {elapsed(began)}")
        raise
    else:
        say(f"  ✓ {what}: {elapsed(began)}")
    finally:
        finished.set()
        teller.join()
