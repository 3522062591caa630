"""How many are spoken at once, and who waits: first come, first served, within bounds."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services_node.tts_server import errors

_FIRST_GUESS_SECONDS = 5.0  # of one request, before any has ended
_WEIGHT = 0.2  # of the newest request in what one takes
_LONGEST_RETRY_SECONDS = 60.0


class Places:
    """at_once: requests that are spoken at the same time. most_waiting: beyond, a newcomer is told to come again.
    wait_seconds: the longest wait for a place."""

    def __init__(
        self, at_once: int, most_waiting: int, wait_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._free = at_once
        self._at_once = at_once
        self._most_waiting = most_waiting
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._queue: deque[asyncio.Future[None]] = deque()
        self._usual_seconds = _FIRST_GUESS_SECONDS

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def taken(self) -> int:
        return self._at_once - self._free

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Held until its end; whoever is cancelled while it waits or speaks gives it back at once.

        Raises ApiError: 429 queue_full, 503 queue_wait_over.
        """
        await self._enter()
        began = self._clock()
        try:
            yield
        finally:
            self._usual_seconds += _WEIGHT * (self._clock() - began - self._usual_seconds)
            self._leave()

    def retry_after_seconds(self) -> float:
        """When there may be room: what those before a newcomer usually take."""
        rounds = (len(self._queue) + 1) / self._at_once
        return min(_LONGEST_RETRY_SECONDS, max(1.0, rounds * self._usual_seconds))

    async def _enter(self) -> None:
        if self._free:  # nobody waits then: a free place is handed to the first of the queue
            self._free -= 1
            return
        if len(self._queue) >= self._most_waiting:
            raise errors.queue_full(len(self._queue), self.retry_after_seconds())
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except TimeoutError:
            self._give_up(turn)
            raise errors.queue_wait_over(self._wait_seconds, self.retry_after_seconds()) from None
        except asyncio.CancelledError:
            self._give_up(turn)
            raise

    def _give_up(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self._leave()  # it was given a place in the same moment: the next one has it
        elif turn in self._queue:
            self._queue.remove(turn)

    def _leave(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
