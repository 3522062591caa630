"""A kernel's standard streams: Python's own writers on the descriptors 1 and 2 that the agent reads.

Everything of one stream goes through one pipe, so what Python prints and what C code and subprocesses write come out
in the order in which they were written: Python's part is flushed before anything else can write.
"""

import contextlib
import ctypes
import io
import os
import sys
import time
from typing import Any

_FLUSH_SECONDS = 0.05
_BEFORE_OTHERS_WRITE = frozenset({"subprocess.Popen", "os.system", "os.fork", "os.posix_spawn", "os.exec"})


class PromptWriter(io.TextIOWrapper):
    """Line-buffered text; a line that stays unfinished is written after a moment too, so that progress can be seen."""

    _flushed_at = 0.0

    def write(self, text: str, /) -> int:
        written = super().write(text)
        now = time.monotonic()
        if now - self._flushed_at > _FLUSH_SECONDS:
            self.flush()
            self._flushed_at = now
        return written

    def isatty(self) -> bool:
        return False


def install_streams() -> None:
    """Replaces `sys.stdin`, `sys.stdout` and `sys.stderr` in a forked kernel."""
    streams = []
    for descriptor in (1, 2):
        raw = io.FileIO(descriptor, "w", closefd=False)
        streams.append(
            PromptWriter(io.BufferedWriter(raw, 64 * 1024), encoding="utf-8", errors="replace", line_buffering=True)
        )
    sys.stdout, sys.stderr = streams
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    sys.stdin = sys.__stdin__ = io.TextIOWrapper(io.FileIO(0, "r", closefd=False), encoding="utf-8")
    sys.addaudithook(_flush_before)


def flush_all() -> None:
    """Writes out what Python and the C library still hold."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(Exception):  # user code may have put anything there, or closed it
            stream.flush()  # type: ignore[union-attr]
    _LIBC.fflush(None)


def point_descriptors(stdout: int, stderr: int) -> None:
    """Makes `stdout` and `stderr` the descriptors 1 and 2, and /dev/null the descriptor 0."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)


_LIBC: Any = ctypes.CDLL(None)


def _flush_before(event: str, _arguments: Any) -> None:
    if event in _BEFORE_OTHERS_WRITE:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
