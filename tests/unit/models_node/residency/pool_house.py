"""A pool over engines that are only told to be ready, to die or to be gone, and what its tests ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from models_node.catalogue import ModelEntry
from models_node.errors import EngineFailed, ReleaseFailed
from models_node.residency.decide import State
from models_node.residency.limits import ResidencyLimits
from models_node.residency.measuring import Measurement
from models_node.residency.messages import Lease, ModelStatus
from models_node.residency.pool import Pool
from wire.errors import ApiError

GIB = 2**30
LIMIT_SECONDS = 5.0


class FakeEngine:
    """An engine whose life the test leads."""

    def __init__(self, entry: ModelEntry, number: int) -> None:
        self.entry = entry
        self.number = number
        self.becomes_ready = asyncio.Event()
        self.failure: EngineFailed | None = None
        self.dies = asyncio.Event()
        self.may_stop = asyncio.Event()
        self.may_stop.set()
        self.stops = 0
        self.stopped = False
        self.releases_badly = 0
        self.can_sleep = False
        self.level: int | None = None
        self.private_bytes = entry.memory_bytes

    @property
    def socket(self) -> Path:
        return Path(f"/fake/{self.number}")

    @property
    def pid(self) -> int:
        return 1000 + self.number

    def fail(self, failure: EngineFailed) -> None:
        self.failure = failure
        self.becomes_ready.set()

    async def ready(self) -> None:
        await self.becomes_ready.wait()
        if self.failure:
            raise self.failure

    async def exited(self) -> str:
        await self.dies.wait()
        return "killed by signal 9"

    async def stop(self) -> None:
        self.stops += 1
        await self.may_stop.wait()
        if self.releases_badly:
            self.releases_badly -= 1
            raise ReleaseFailed("process 7 does not end")
        self.stopped = True

    async def sleep(self, level: int) -> None:
        self.level, self.private_bytes = level, 0

    async def wake(self) -> None:
        self.level, self.private_bytes = None, self.entry.memory_bytes

    def measure(self) -> Measurement:
        return Measurement(self.private_bytes, self.private_bytes)


class FakeLauncher:
    def __init__(self, *, at_once: bool) -> None:
        self.at_once = at_once
        self.engines: list[FakeEngine] = []
        self.refusal: EngineFailed | None = None
        self.can_sleep = False

    def shared_bytes(self) -> int:
        return 0

    def prepare(self) -> list[int]:
        return []

    def close(self) -> None:
        pass

    async def launch(self, entry: ModelEntry) -> FakeEngine:
        if self.refusal:
            raise self.refusal
        engine = FakeEngine(entry, len(self.engines))
        engine.can_sleep = self.can_sleep
        if self.at_once:
            engine.becomes_ready.set()
        self.engines.append(engine)
        return engine

    def of(self, model: str) -> FakeEngine:
        return [engine for engine in self.engines if engine.entry.id == model][-1]


class Heard:
    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def loaded(self, model: str, seconds: float) -> None:
        self.events.append(("loaded", model))

    def load_failed(self, model: str) -> None:
        self.events.append(("load_failed", model))

    def evicted(self, model: str) -> None:
        self.events.append(("evicted", model))

    def wedged(self, model: str) -> None:
        self.events.append(("wedged", model))

    def gone(self, model: str, socket: Path | None) -> None:
        self.events.append(("gone", model))


class FakeProber:
    """Answers, but for as many probes as it is told to lose."""

    def __init__(self) -> None:
        self.to_lose = 0
        self.probes = 0

    async def probe(self, entry: ModelEntry, socket: Path) -> None:
        self.probes += 1
        if self.to_lose:
            self.to_lose -= 1
            raise EngineFailed("no token came within 0 s of a probe")


class House:
    """A pool of models a, b, c of 3 GiB each, `huge` that never fits, and a remote one."""

    def __init__(
        self, *, models: str, at_once: bool, keep_alive: float, max_concurrent: int, limits: ResidencyLimits
    ) -> None:
        def local(model: str, memory: int) -> ModelEntry:
            return ModelEntry(
                id=model, domain="general", description="", context_length=1, weights="w", memory_estimate=memory,
                keep_alive_seconds=keep_alive, max_concurrent=max_concurrent,
            )  # fmt: skip

        remote = ModelEntry(id="far", domain="general", description="", context_length=1, remote_url="http://far")
        entries = [*(local(model, 3 * GIB) for model in models), local("huge", 99 * GIB), remote]
        self.launcher = FakeLauncher(at_once=at_once)
        self.heard = Heard()
        self.prober = FakeProber()
        self.pool = Pool(entries, self.launcher, limits, self.heard, self.prober)

    async def status(self, model: str) -> ModelStatus:
        """After whatever the pool has been told by now."""
        await asyncio.sleep(0.001)
        return next(status for status in self.pool.status() if status.model == model)

    async def until(self, model: str, condition: Callable[[ModelStatus], bool]) -> ModelStatus:
        """Waits for a condition on a model's status, with a limit."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not condition(status := await self.status(model)):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            return status

    async def until_state(self, model: str, state: State) -> ModelStatus:
        return await self.until(model, lambda status: status.state is state)

    def asking(self, model: str) -> asyncio.Task[Lease]:
        """A request that leaves as soon as it was let in."""
        return asyncio.create_task(self.pool.load(model))

    async def launched(self, count: int) -> None:
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(self.launcher.engines) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@asynccontextmanager
async def house(
    *,
    at_once: bool = True,
    budget: int = 7 * GIB,
    queue_limit: int = 8,
    queue_timeout: float = 60,
    keep_alive: float = 60,
    max_concurrent: int = 4,
    models: str = "abc",
    **limits: float,
) -> AsyncIterator[House]:
    made = House(
        models=models, at_once=at_once, keep_alive=keep_alive, max_concurrent=max_concurrent,
        limits=ResidencyLimits(budget, queue_limit, queue_timeout, **limits),  # type: ignore[arg-type]
    )  # fmt: skip
    made.pool.start()
    try:
        yield made
    finally:
        for engine in made.launcher.engines:
            engine.may_stop.set()
        async with asyncio.timeout(LIMIT_SECONDS):
            await made.pool.stop()
    assert all(engine.stopped for engine in made.launcher.engines), "an engine was left behind"


async def refused(asking: asyncio.Task[Lease]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        async with asyncio.timeout(LIMIT_SECONDS):
            await asking
    return caught.value
