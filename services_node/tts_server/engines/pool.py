"""Threads that do the most urgent piece of work first, whoever it is for."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Piece:
    deadline: float
    number: int
    latest: float
    alone: bool
    future: Future[Any]
    work: Callable[[], Any]


class Pool:
    """Times are `time.monotonic()` seconds. The piece with the earliest deadline goes first, equals in order. One whose
    future is cancelled before its turn is never begun.

    A piece that can still wait is not begun while somebody is `urgent`, even if a thread is free: their pieces come one
    after the other, use all cores, and would find them taken.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._waiting: list[_Piece] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._urgent = 0
        self._alone = False
        self._beside = 0  # pieces being done that are not done alone
        self._closed = False
        for number in range(threads):
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def submit(
        self, deadline: float, work: Callable[[], T], *, latest: float = float("-inf"), alone: bool = False
    ) -> Future[T]:
        """latest: when it has to begin to be done in time; until then it gives way to the urgent. alone: it uses all
        cores, and no other such piece is done beside it."""
        future: Future[T] = Future()
        with self._changed:
            self._waiting.append(_Piece(deadline, next(self._numbers), latest, alone, future, work))
            self._changed.notify()
        return future

    @property
    def load(self) -> int:
        """How many share the cores: those who are urgent, and pieces of others that are being done."""
        return self._urgent + self._beside

    @contextmanager
    def urgency(self) -> Iterator[Callable[[bool], None]]:
        """For one who says when it is urgent, which is when somebody waits for each piece as it is submitted, and when
        it is no more; at its end it is not."""
        said = False

        def say(urgent: bool) -> None:
            nonlocal said
            if urgent != said:
                said = urgent
                with self._changed:
                    self._urgent += 1 if urgent else -1
                    self._changed.notify_all()

        try:
            yield say
        finally:
            say(False)

    def close(self) -> None:
        """Nothing more is begun."""
        with self._changed:
            self._closed = True
            for piece in self._waiting:
                piece.future.cancel()
            self._waiting.clear()
            self._changed.notify_all()

    def _next(self) -> _Piece | None:
        """None: closed."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                ready = [
                    one
                    for one in self._waiting
                    if (not self._urgent or one.latest <= now) and not (one.alone and self._alone)
                ]
                if ready:
                    piece = min(ready, key=lambda one: (one.deadline, one.number))
                    self._waiting.remove(piece)
                    if piece.alone:
                        self._alone = True
                    else:
                        self._beside += 1
                    return piece
                soonest = min((one.latest for one in self._waiting if one.latest > now), default=float("inf"))
                self._changed.wait(None if soonest == float("inf") else soonest - now)
            return None

    def _work(self) -> None:
        while piece := self._next():
            if not piece.future.set_running_or_notify_cancel():
                self._done(piece)
                continue
            try:
                piece.future.set_result(piece.work())
            except BaseException as error:  # whoever waits for it is told
                piece.future.set_exception(error)
            finally:
                self._done(piece)

    def _done(self, piece: _Piece) -> None:
        with self._changed:
            if piece.alone:
                self._alone = False
                self._changed.notify_all()
            else:
                self._beside -= 1
