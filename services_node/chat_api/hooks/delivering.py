"""The task that tells subscribers of ended runs: each in order, each at least once, nobody waiting for another.

A subscriber is leased from the database, so that of several chat APIs one tells it at a time; whoever leases it tells
what waits for it, one event after the other, and gives it back when nothing waits, when a try failed, or when it has
had its turn. A process that is killed has leases that end by themselves: the event under way is told again, with the
same id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from prometheus_client import Counter

from db.errors import DatabaseUnavailable
from db.outbox import Leased, waited_seconds
from db.records import OutgoingEvent
from services_node.chat_api.hooks.deciding import Again, Answer, GivenUp, Gone, Had, Retrying, decided
from stack.settings import Settings
from wire.webhooks import signed_headers

log = logging.getLogger("services_node.chat_api.hooks")

TRIES = Counter("capibara6_hook_tries", "Tries to tell hooks and callbacks of ended runs.", ["result"])
READ_AT_ONCE = 20
LEASE_MORE_SECONDS = 5.0  # than a try takes at most
TURN_SECONDS = 5.0  # after which others are looked at first
EXPIRE_EVERY_SECONDS = 60.0
SHORTEST_WAIT_SECONDS = 0.05


class Events(Protocol):
    """`db.outbox.Outbox`."""

    async def lease(self, most: int, seconds: float) -> list[Leased]: ...

    async def outlook(self) -> tuple[bool, float | None]: ...

    async def waiting(self, leased: Leased, most: int) -> tuple[list[OutgoingEvent], int] | None: ...

    async def had(self, leased: Leased, event: OutgoingEvent, lease_seconds: float) -> bool: ...

    async def given_up(self, leased: Leased, event: OutgoingEvent, error: str, lease_seconds: float) -> bool: ...

    async def failed(self, leased: Leased, event: OutgoingEvent, error: str, wait_seconds: float) -> None: ...

    async def rest(self, leased: Leased, seen: int) -> bool: ...

    async def give_back(self, leased: Leased) -> None: ...

    async def gone(self, leased: Leased) -> None: ...

    async def expire(self, age: timedelta, most: int) -> int: ...


class Post(Protocol):
    """`services_node.chat_api.hooks.sending.Sender`."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer: ...


@dataclass(frozen=True, slots=True)
class DeliveryLimits:
    """at_once: subscribers that are told at the same time. look_seconds: how often the database is asked. retention,
    pending: how long, and how many, events wait for one subscriber."""

    retrying: Retrying
    try_seconds: float
    at_once: int
    look_seconds: float
    retention: timedelta
    pending: int

    @classmethod
    def of(cls, settings: Settings) -> DeliveryLimits:
        return cls(
            Retrying(settings.hook_retry_seconds, settings.hook_retry_most_seconds, settings.callback_give_up_seconds),
            settings.hook_try_seconds,
            settings.hook_deliveries_at_once,
            settings.hook_look_seconds,
            timedelta(days=settings.hook_retention_days),
            settings.hook_pending_limit,
        )

    @property
    def lease_seconds(self) -> float:
        return self.try_seconds + LEASE_MORE_SECONDS


class Delivering:
    """body: what an event says, as it is sent. secret: by which a subscriber knows that it is ours."""

    def __init__(
        self,
        events: Events,
        sender: Post,
        body: Callable[[OutgoingEvent], Awaitable[bytes]],
        secret: Callable[[Leased], str],
        limits: DeliveryLimits,
    ) -> None:
        self._events = events
        self._sender = sender
        self._body = body
        self._secret = secret
        self._limits = limits
        self._look = asyncio.Event()
        self._awaited = True  # until the database was asked
        self._stopping = False
        self._away = False
        self._looking: asyncio.Task[None] | None = None
        self._telling: dict[asyncio.Task[None], Leased] = {}

    def start(self) -> None:
        self._looking = asyncio.create_task(self._run())

    def expect(self) -> None:
        """Somebody wants to be told of something from now on."""
        self._awaited = True

    def run_ended(self) -> None:
        """A run has ended and is written: whoever is to be told of it need not wait for the next look."""
        if self._awaited:
            self._look.set()

    async def stop(self, seconds: float) -> None:
        """Ends the tries under way, at most that long, and leaves the rest to whoever comes next."""
        self._stopping = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._telling:
            await asyncio.wait(self._telling, timeout=seconds)
        left = dict(self._telling)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for leased in left.values():
            with contextlib.suppress(Exception):  # the lease ends by itself
                await self._events.give_back(leased)

    async def _run(self) -> None:
        expired = 0.0
        while True:
            self._look.clear()
            wait_seconds = self._limits.look_seconds
            try:
                if await self._lease():
                    wait_seconds = 0.0
                elif len(self._telling) < self._limits.at_once:  # else one of them that ends is waited for
                    self._awaited, due_seconds = await self._events.outlook()
                    if due_seconds is not None:
                        wait_seconds = min(wait_seconds, max(SHORTEST_WAIT_SECONDS, due_seconds))
                if time.monotonic() - expired > EXPIRE_EVERY_SECONDS:
                    expired = time.monotonic()
                    await self._expire()
                self._away = False
            except DatabaseUnavailable:
                if not self._away:
                    log.warning("Postgres is away; hooks and callbacks wait")
                self._away = True
            except Exception:
                log.exception("hooks and callbacks could not be looked for; trying again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._look.wait()

    async def _lease(self) -> bool:
        """Takes on whoever something waits for. Returns whether there was anybody."""
        room = self._limits.at_once - len(self._telling)
        leased = await self._events.lease(room, self._limits.lease_seconds) if room > 0 else []
        for one in leased:
            telling = asyncio.create_task(self._tell(one))
            self._telling[telling] = one
            telling.add_done_callback(self._told)
        return bool(leased)

    def _told(self, telling: asyncio.Task[None]) -> None:
        del self._telling[telling]
        self._look.set()

    async def _expire(self) -> None:
        lost = await self._events.expire(self._limits.retention, self._limits.pending)
        if lost:
            log.warning("events were dropped that nobody took for too long", extra={"count": lost})

    async def _tell(self, leased: Leased) -> None:
        """Tells a subscriber what waits for it, as long as it takes that and its turn lasts."""
        began = time.monotonic()
        try:
            while (found := await self._events.waiting(leased, READ_AT_ONCE)) is not None:
                events, newest = found
                if not events:
                    await self._events.rest(leased, newest)
                    return
                for event in events:
                    if self._stopping or time.monotonic() - began > TURN_SECONDS:
                        await self._events.give_back(leased)
                        return
                    if not await self._try(leased, event):
                        return
                    leased = replace(leased, failures=0)
        except DatabaseUnavailable:
            return  # the lease ends by itself, and what was told unwritten is told again
        except Exception:
            log.exception("a subscriber could not be told", extra={"subscriber": str(leased.id)})

    async def _try(self, leased: Leased, event: OutgoingEvent) -> bool:
        """One try. Returns whether the next event may follow."""
        answer = await self._answer(leased, event)
        verdict = decided(
            answer,
            self._limits.retrying,
            is_callback=event.is_callback,
            failures=leased.failures,
            waited_seconds=waited_seconds(event, datetime.now(UTC)),
            chance=random.random(),  # noqa: S311 - nobody gains by guessing it
        )
        TRIES.labels(type(verdict).__name__.lower()).inc()
        match verdict:
            case Had():
                return await self._events.had(leased, event, self._limits.lease_seconds)
            case GivenUp(error):
                log.warning("a callback was given up", extra={"run": str(event.run_id), "reason": error})
                return await self._events.given_up(leased, event, error, self._limits.lease_seconds)
            case Gone():
                log.info("a hook was removed: its address has gone", extra={"hook": str(leased.id)})
                await self._events.gone(leased)
                return False
            case Again(error, wait_seconds):
                log.info("a subscriber was not told", extra={"subscriber": str(leased.id), "reason": error})
                await self._events.failed(leased, event, error, wait_seconds)
                return False

    async def _answer(self, leased: Leased, event: OutgoingEvent) -> Answer:
        try:
            body = await self._body(event)
        except DatabaseUnavailable:
            raise
        except Exception:
            log.exception("an event could not be written", extra={"run": str(event.run_id)})
            return Answer(None, "the event could not be written; the run id finds it in the logs")
        id_, now = str(event.event_id), int(time.time())
        return await self._sender.post(leased.url, signed_headers(self._secret(leased), id_, now, body), body)
