"""One running vLLM engine: knowing when it serves, measuring it, putting it to sleep, noticing its end, ending it."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from models_node.errors import EngineFailed, EngineOutOfMemory, EngineStartTimedOut, ReleaseFailed
from models_node.residency.gpu import GpuMemory
from models_node.residency.last_words import died_for_memory, kernel_kills, last_words
from models_node.residency.measuring import Measurement, private_bytes
from models_node.residency.process import Warden
from models_node.residency.remains import ENGINE, end_marked
from stack.processes import marked

POLL_SECONDS = 0.02
ANSWER_SECONDS = 5.0
KILL_SECONDS = 5.0  # beyond its own grace time, what a warden gets to end everything


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Times in seconds: to become ready, to stop, and for one sleep or waking."""

    start_timeout_seconds: float
    stop_timeout_seconds: float
    sleep_timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Started:
    """What an engine was started as. mark: the value of CAPIBARA6_ENGINE that its processes carry; kv_cache_bytes: main
    memory that it was given for its cache.
    """

    model: str
    mark: str
    scratch: Path
    log: Path
    kv_cache_bytes: int
    can_sleep: bool


class VllmEngine:
    """One running engine, below its warden. on_failed_start is called when it ended before it served, and not for
    memory. gpu: where its memory on GPUs is asked for, if it runs there.
    """

    def __init__(
        self,
        started: Started,
        warden: Warden,
        limits: EngineLimits,
        *,
        gpu: GpuMemory | None = None,
        on_failed_start: Callable[[], None] = lambda: None,
    ) -> None:
        self._started = started
        self._warden = warden
        self._limits = limits
        self._gpu = gpu
        self._on_failed_start = on_failed_start
        self._served = False
        self._stopping = False
        self._level = 0
        self._kernel_kills = kernel_kills()
        self._pids: list[int] = []
        self._status: int | None = None
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(warden.pidfd, self._on_end)

    @property
    def socket(self) -> Path:
        return self._started.scratch / "http"

    @property
    def pid(self) -> int:
        """The engine's first process; its warden's where that is not known yet."""
        try:
            return int((self._started.scratch / "pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return self._warden.pid

    @property
    def can_sleep(self) -> bool:
        return self._started.can_sleep

    async def ready(self) -> None:
        """Returns when the engine serves. Raises EngineFailed when it ended, EngineOutOfMemory when for want of memory,
        EngineStartTimedOut after its time.
        """
        waiting: asyncio.Future[None] = asyncio.ensure_future(self._answering())
        either: set[asyncio.Future[Any]] = {waiting, self._ended}
        try:
            await asyncio.wait(either, timeout=self._limits.start_timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
            if self._ended.done():
                raise self._failure()
            if not waiting.done():
                limit = self._limits.start_timeout_seconds
                raise EngineStartTimedOut(f"it was not ready after {limit:.0f} s; log: {self._started.log}")
            waiting.result()
            self._served = True
        finally:
            waiting.cancel()

    async def exited(self) -> str:
        return await asyncio.shield(self._ended)

    async def stop(self) -> None:
        """Ends all its processes; returns when none is left. May be called again. Raises ReleaseFailed when some of it
        is not seen to be gone in its time.
        """
        self._stopping = True
        if not self._ended.done():
            # The warden gives an engine that serves its grace time; one that never did has nothing to finish.
            self._warden.send(signal.SIGTERM if self._served else signal.SIGINT)
            await asyncio.wait({self._ended}, timeout=self._limits.stop_timeout_seconds + KILL_SECONDS)
        if not self._ended.done():
            self._warden.send(signal.SIGKILL)
            await asyncio.wait({self._ended}, timeout=KILL_SECONDS)
        if self._status is None:  # the warden itself was killed, or does not end, and could not clear up
            await asyncio.to_thread(self._end_remains)
        if self._gpu is not None:
            await self._gpu_released(self._gpu)
        shutil.rmtree(self._started.scratch, ignore_errors=True)

    def measure(self) -> Measurement:
        """What it takes now. Blocks for some tens of milliseconds."""
        self._pids = self._processes()
        host = private_bytes(self._pids, self._started.kv_cache_bytes)
        on_gpu = self._gpu.used_bytes(self._pids) if self._gpu else 0
        return Measurement(private_bytes=on_gpu or host, host_bytes=host)

    async def sleep(self, level: int) -> None:
        """Level 1 keeps the weights in main memory, level 2 drops them too. Raises EngineFailed."""
        await self._call("/sleep", {"level": str(level), "mode": "abort"})
        self._level = level

    async def wake(self) -> None:
        """Takes up its memory again, with the weights read anew after level 2. Raises EngineFailed."""
        if self._level == 2:
            await self._call("/wake_up", {"tags": "weights"})
            await self._call("/collective_rpc", body={"method": "reload_weights"})
            await self._call("/wake_up", {"tags": "kv_cache"})
        else:
            await self._call("/wake_up")
        self._level = 0

    async def _call(self, route: str, query: dict[str, str] | None = None, body: dict[str, str] | None = None) -> None:
        if not self.can_sleep:
            raise EngineFailed("it cannot sleep: it was not started with --enable-sleep-mode on a GPU")
        try:
            async with (
                self._session(self._limits.sleep_timeout_seconds) as session,
                session.post(route, params=query, json=body) as reply,
            ):
                if reply.status != 200:
                    raise EngineFailed(f"{route}: status {reply.status}: {(await reply.text())[:300]}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineFailed(f"{route}: {type(error).__name__}: {error}; log: {self._started.log}") from None

    def _session(self, seconds: float) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(str(self.socket), force_close=True)
        return aiohttp.ClientSession("http://engine", connector=connector, timeout=aiohttp.ClientTimeout(total=seconds))

    async def _answering(self) -> None:
        """Polls until `/health` says yes and the model is listed under its id."""
        async with self._session(ANSWER_SECONDS) as session:
            while not await self._healthy(session):  # noqa: ASYNC110 - another process: there is no event
                await asyncio.sleep(POLL_SECONDS)

    async def _healthy(self, session: aiohttp.ClientSession) -> bool:
        if not self.socket.exists():
            return False
        try:
            async with session.get("/health") as reply:
                if reply.status != 200:
                    return False
            async with session.get("/v1/models") as reply:
                return reply.status == 200 and self._started.model.encode() in await reply.read()
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._warden.pidfd)
        self._status = self._warden.status()
        self._warden.close()
        code = self._status
        if code is None:
            how = "its warden was killed"
        elif code > 128:
            how = f"killed by signal {code - 128}"
        else:
            how = f"exit status {code}"
        said = last_words(self._started.log)
        self._ended.set_result(f"{how}{f' ({said})' if said else ''}; log: {self._started.log}")

    def _failure(self) -> EngineFailed:
        """Why it ended before it served."""
        reason = self._ended.result()
        if died_for_memory(self._started.log) or kernel_kills() > self._kernel_kills:
            return EngineOutOfMemory(f"it ran out of memory: {reason}")
        if not self._stopping:
            self._on_failed_start()
        return EngineFailed(reason)

    def _processes(self) -> list[int]:
        try:
            warden = psutil.Process(self._warden.pid)
            return [self._warden.pid, *(child.pid for child in warden.children(recursive=True))]
        except psutil.Error:
            return []

    def _end_remains(self) -> None:
        end_marked(ENGINE, self._started.mark)
        if left := marked(**{ENGINE: self._started.mark}):
            pids = ", ".join(str(process.pid) for process in left)
            raise ReleaseFailed(f"processes that do not end: {pids}; log: {self._started.log}")

    async def _gpu_released(self, gpu: GpuMemory) -> None:
        deadline = asyncio.get_running_loop().time() + self._limits.stop_timeout_seconds
        while held := await asyncio.to_thread(gpu.used_bytes, self._pids):
            if asyncio.get_running_loop().time() >= deadline:
                raise ReleaseFailed(f"{held} bytes of GPU memory are still held; log: {self._started.log}")
            await asyncio.sleep(0.1)
