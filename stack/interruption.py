"""Ctrl-C and stop signals, heard also when Python loses the exception.

A KeyboardInterrupt that is raised inside a finaliser or a weak reference's callback is printed and forgotten by the
interpreter. So the signal is noted as well, and every long wait looks at the note.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

LOOK_SECONDS = 0.2
_asked = threading.Event()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM and SIGHUP end a command as Ctrl-C does: by KeyboardInterrupt, with its cleaning up."""

    def interrupt(number: int, frame: object) -> None:
        _asked.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        _asked.clear()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterruptible() -> Iterator[None]:
    """While things are being stopped a second Ctrl-C does not leave them half-way: stopping has limits of its own."""
    _asked.clear()
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raises KeyboardInterrupt when one was asked for."""
    if _asked.is_set():
        raise KeyboardInterrupt


def wait_forever() -> None:
    """Until interrupted."""
    while not _asked.wait(LOOK_SECONDS):
        continue
    raise KeyboardInterrupt


def result_of(future: Future[T]) -> T:
    """The future's result, or KeyboardInterrupt when that comes first."""
    while True:
        check()
        try:
            return future.result(LOOK_SECONDS)
        except TimeoutError:
            if future.done():
                raise  # the work's own
