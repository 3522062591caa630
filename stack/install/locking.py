"""One process at a time: a lock file that dies with its holder. Standard library only."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack.install.report import say


@contextmanager
def exclusive(path: Path, waiting: str) -> Iterator[None]:
    """Holds the lock file `path`; says `waiting` when another process has it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"  · {waiting}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
