"""Engines as processes: starting vLLM, knowing when it serves, noticing its end, leaving nothing behind.

`Engine` and `EngineLauncher` are what the pool knows; `VllmLauncher` is the real thing. An engine runs under a warden
(see `warden.py`) in a session of its own, serves on a unix socket in a folder only this user can enter, and carries
marker variables, by which a new model server ends what a killed one left.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import aiohttp
import psutil

from models_node.catalogue import Catalogue, ModelEntry, missing_weights, weights_path
from models_node.errors import EngineFailed, EngineStartTimedOut
from models_node.residency.measuring import Measurement
from models_node.residency.warden import TRACKER_SECONDS, is_tracker
from stack.paths import run_directory
from stack.processes import SERVICE, STACK_ID, end, kill_marked, marked, stack_id
from stack.settings import Settings

ENGINES_OF = "CAPIBARA6_ENGINES_OF"  # marker of every engine process: the stack's id
ENGINE = "CAPIBARA6_ENGINE"  # marker of one engine's processes
# Not `-m`: vLLM's own child processes would import the whole API server again as their main module.
SERVE = "from vllm.entrypoints.launchers.api_server.entry import main; main()"
WARDEN = Path(__file__).with_name("warden.py")
POLL_SECONDS = 0.05
END_SECONDS = 0.5
LOG_TAIL_BYTES = 4096


class Engine(Protocol):
    """A started engine. `stop` is always called once it is no longer wanted, also after its own end."""

    @property
    def socket(self) -> Path: ...

    @property
    def pid(self) -> int: ...

    async def ready(self) -> None:
        """Returns when the engine serves. Raises EngineFailed when it ended, EngineStartTimedOut after its time."""
        ...

    async def exited(self) -> str:
        """Returns when its process has ended, with what is known of the reason."""
        ...

    async def stop(self) -> None:
        """Ends all its processes; returns when none is left. May be called again."""
        ...

    def memory_bytes(self) -> int:
        """Proportional set size of all its processes, now. Blocks for some milliseconds."""
        ...

    @property
    def can_sleep(self) -> bool: ...

    async def sleep(self, level: int) -> None: ...

    async def wake(self) -> None: ...

    def measure(self) -> Measurement: ...


class EngineLauncher(Protocol):
    def prepare(self) -> list[int]:
        """Once, before the first launch: ends what an earlier model server left. Returns those pids. Blocks."""
        ...

    def close(self) -> None:
        """Once, after the last engine is gone."""
        ...

    def shared_bytes(self) -> int: ...

    async def launch(self, entry: ModelEntry) -> Engine:
        """Starts the process and returns at once. Raises EngineFailed when it cannot even be started."""
        ...


@dataclass(frozen=True, slots=True)
class EngineTimes:
    start_timeout_seconds: float
    stop_timeout_seconds: float


class VllmEngine:
    """One running engine. mark: the value of CAPIBARA6_ENGINE that its processes carry."""

    def __init__(
        self,
        entry: ModelEntry,
        process: subprocess.Popen[bytes],
        *,
        scratch: Path,
        log: Path,
        mark: str,
        times: EngineTimes,
    ) -> None:
        self._entry = entry
        self._process = process
        self._scratch = scratch
        self._log = log
        self._mark = mark
        self._times = times
        self._served = False
        self._ended = asyncio.get_running_loop().create_future()
        self._pidfd = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_end)

    @property
    def socket(self) -> Path:
        return self._scratch / "http"

    @property
    def pid(self) -> int:
        """The engine's first process; its warden's where that is not known yet."""
        try:
            return int((self._scratch / "pid").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return self._process.pid

    can_sleep = False

    async def sleep(self, level: int) -> None:
        raise EngineFailed("it cannot sleep")

    async def wake(self) -> None:
        raise EngineFailed("it cannot sleep")

    def measure(self) -> Measurement:
        return Measurement(self.memory_bytes(), self.memory_bytes())

    async def ready(self) -> None:
        waiting = asyncio.ensure_future(self._answering())
        try:
            await asyncio.wait(
                {waiting, self._ended},
                timeout=self._times.start_timeout_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._ended.done():
                raise EngineFailed(self._ended.result())
            if not waiting.done():
                limit = self._times.start_timeout_seconds
                raise EngineStartTimedOut(f"it was not ready after {limit:.0f} s; log: {self._log}")
            waiting.result()
            self._served = True
        finally:
            waiting.cancel()

    async def exited(self) -> str:
        return await asyncio.shield(self._ended)

    async def stop(self) -> None:
        if not self._ended.done():
            # The warden gives an engine that serves its grace time; one that never did has nothing to finish.
            self._process.send_signal(signal.SIGTERM if self._served else signal.SIGINT)
            await asyncio.wait({self._ended}, timeout=self._times.stop_timeout_seconds + 5)
        if not self._ended.done():
            self._process.kill()
            await self._ended
        if self._process.returncode < 0:  # the warden itself was killed, and could not clear up
            await asyncio.to_thread(end_marked, ENGINE, self._mark)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def memory_bytes(self) -> int:
        total = 0
        try:
            tree = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        except psutil.Error:
            return 0
        for process in tree:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
        return total

    async def _answering(self) -> None:
        """Polls until `/health` says yes and the model is listed under its id."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(
            "http://engine", connector=aiohttp.UnixConnector(str(self.socket), force_close=True), timeout=timeout
        ) as session:
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
                return reply.status == 200 and self._entry.id.encode() in await reply.read()
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _on_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        how = (
            f"killed by signal {-code if code < 0 else code - 128}" if code < 0 or code > 128 else f"exit status {code}"
        )
        said = last_error(self._log)
        self._ended.set_result(f"{how}{f' ({said})' if said else ''}; log: {self._log}")


class VllmLauncher:
    """Starts vLLM engines for one model server."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._stack = stack_id(settings)
        self._run = run_directory(settings) / "engines"
        self._logs = settings.home / "logs" / "engines"
        self._started = 0
        self._times = EngineTimes(settings.engine_start_timeout_seconds, settings.engine_stop_timeout_seconds)

    def prepare(self) -> list[int]:
        ended = end_marked(ENGINES_OF, self._stack)
        shutil.rmtree(self._run, ignore_errors=True)
        self._run.mkdir(mode=0o700, parents=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        return ended

    def close(self) -> None:
        shutil.rmtree(self._run, ignore_errors=True)

    def shared_bytes(self) -> int:
        return 0

    async def launch(self, entry: ModelEntry) -> VllmEngine:
        home = self._settings.home
        if problem := missing_weights(entry, home):
            raise EngineFailed(problem)
        self._started += 1
        scratch = self._run / str(self._started)
        log = self._logs / f"{entry.id}.log"
        mark = f"{self._stack}/{entry.id}/{self._started}"
        command = [
            sys.executable, "-I", "-S", str(WARDEN),
            str(os.getpid()), str(self._times.stop_timeout_seconds), str(scratch),
            *engine_command(entry, self._catalogue, home, scratch / "http"),
        ]  # fmt: skip
        marks = {ENGINES_OF: self._stack, ENGINE: mark}
        environment = engine_environment(entry, self._catalogue, home, scratch) | marks
        try:
            scratch.mkdir(mode=0o700)
            if log.exists():
                log.replace(log.with_suffix(".log.1"))
            with log.open("wb") as output:
                process = subprocess.Popen(  # noqa: ASYNC220 - vfork and exec: under a millisecond, and never half done
                    command, cwd=scratch, env=environment, start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                )  # fmt: skip
        except OSError as error:
            raise EngineFailed(f"it could not be started: {error}") from None
        return VllmEngine(entry, process, scratch=scratch, log=log, mark=mark, times=self._times)


def engine_command(entry: ModelEntry, catalogue: Catalogue, home: Path, socket: Path) -> list[str]:
    """The command line of the entry's vLLM server, on a unix socket, under the entry's id."""
    return [
        sys.executable, "-c", SERVE,
        "--model", str(weights_path(entry, home)),
        "--served-model-name", entry.id,
        "--uds", str(socket),
        "--disable-uvicorn-access-log",
        "--scheduling-policy", "priority",
        *catalogue.engine.arguments,
        *entry.engine_arguments,
    ]  # fmt: skip


def engine_environment(entry: ModelEntry, catalogue: Catalogue, home: Path, scratch: Path) -> dict[str, str]:
    """The engine's variables: offline, no telemetry, caches under $home, none of the stack's settings and secrets."""
    keys = {model.remote_key_env for model in catalogue.models}
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in (STACK_ID, SERVICE) or not (name.startswith(("CAPIBARA6_", "PYTHONPATH", "VLLM_")) or name in keys)
    }
    cache = home / "cache"
    return {
        **inherited,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HOME": str(cache / "huggingface"),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # vLLM renames its processes, and setproctitle would write the title over the environment they are found by.
        "SPT_NOENV": "1",
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "VLLM_CONFIG_ROOT": str(cache / "vllm-config"),
        "VLLM_RPC_BASE_PATH": str(scratch),
        "TMPDIR": str(scratch),  # what killed processes leave goes with the folder
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "torchinductor"),
        **catalogue.engine.environment,
        **entry.environment,
    }


def end_marked(name: str, value: str) -> list[int]:
    """Ends every process that carries NAME=value, as a warden would: resource trackers last, for they unlink the
    shared memory of the others. Returns the pids found. Blocks for up to some seconds.
    """
    found = marked(**{name: value})
    trackers = [process for process in found if is_tracker(process.pid)]
    end([process for process in found if process not in trackers], END_SECONDS)
    psutil.wait_procs(trackers, timeout=TRACKER_SECONDS)
    kill_marked(name, value, END_SECONDS)
    return [process.pid for process in found]


def last_error(log: Path) -> str:
    """The last line of a log that names an error, shortened; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    named = [line.strip() for line in lines if "Error" in line and not line.rstrip().endswith("Error:")]
    return named[-1][-300:] if named else ""
