"""How a turn takes a step: an effect with a name and a time limit.

`FlowSteps` makes it a Prefect task (a state and timings in the UI) once the turn's flow run stands, and `PlainSteps`
does it while there is none: a turn's tools never depend on Prefect being up. Either way the effect itself runs on the
API's own event loop, where its connections are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from flows.link import NO_RETRIES, FlowLink, Retries, run_here
from wire.errors import DeadlineExceeded

T = TypeVar("T")
Effect = Callable[[], Awaitable[T]]


class Steps(Protocol):
    async def run(self, name: str, effect: Effect[T], *, timeout_seconds: float, retries: Retries = NO_RETRIES) -> T:
        """The effect's result. Raises what its last attempt raises, DeadlineExceeded when one takes too long."""
        ...


class PlainSteps:
    async def run(self, name: str, effect: Effect[T], *, timeout_seconds: float, retries: Retries = NO_RETRIES) -> T:
        return await run_here(limited(name, effect, timeout_seconds), retries)


class FlowSteps:
    def __init__(self, link: FlowLink) -> None:
        self._link = link

    async def run(self, name: str, effect: Effect[T], *, timeout_seconds: float, retries: Retries = NO_RETRIES) -> T:
        return await self._link.run_step(name, limited(name, effect, timeout_seconds), retries)


def limited(name: str, effect: Effect[T], timeout_seconds: float) -> Effect[T]:
    """The effect within its time."""

    async def attempt() -> T:
        try:
            async with asyncio.timeout(timeout_seconds):
                return await effect()
        except TimeoutError:
            raise DeadlineExceeded(f"{name} took longer than {timeout_seconds:.0f} s.", code="step_timeout") from None

    return attempt
