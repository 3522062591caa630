"""Starting the services of this machine: by dependency, in parallel, each until it is ready or says why not."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from stack.errors import NotReady, PortTaken, ServiceFailed, StackError
from stack.install.environments import environment_python
from stack.install.report import elapsed, say
from stack.interruption import result_of
from stack.paths import service_log
from stack.processes import stack_environment
from stack.settings import REPOSITORY, Settings
from stack.supervision.daemon import Supervisor, end_leftovers, start_supervisor, stop_everything
from stack.supervision.probe import Probe, port_holder, port_is_free, probe
from stack.supervision.state import forget_restarts, restarts
from stack.topology import Service, Topology

POLL_SECONDS = 0.2
PREPARE_SECONDS = 300
SETTLE_SECONDS = 300
RESTARTS_TOLERATED = 2


class BringUp:
    """One `up`. `run()` returns when every service is ready; raises StackError, all told, when one is not.

    The first that fails ends the others' waits. `undo()` stops what this `up` started.
    """

    def __init__(self, settings: Settings, topology: Topology, services: Sequence[Service]) -> None:
        self._settings = settings
        self._topology = topology
        self._services = {service.name: service for service in services}
        self._ready = {service.name: threading.Event() for service in services}
        self._prepared: dict[tuple[str, ...], threading.Lock] = {
            s.prepare: threading.Lock() for s in services if s.prepare
        }
        self._prepare_done: set[tuple[str, ...]] = set()
        self._aborted = threading.Event()
        self._fresh = True
        self._started: list[str] = []

    def run(self) -> None:
        before = Supervisor(self._settings, 5).processes()
        self._fresh = not before
        running = {name for name, process in before.items() if process.pid}
        self._check_ports([s for s in self._services.values() if s.name not in running])
        if start_supervisor(self._settings, self._topology):
            self._fresh, running = True, set()
        faults: list[StackError] = []
        with ThreadPoolExecutor(len(self._services) or 1) as pool:
            pending = [pool.submit(self._bring, service, running) for service in self._services.values()]
            for future in pending:
                try:
                    result_of(future)
                except StackError as error:
                    faults.append(error)
                except BaseException:
                    self._aborted.set()
                    raise
        if faults:
            raise faults[0]

    def undo(self) -> None:
        """Stops what was started: everything when the supervisor is this `up`'s own."""
        self._aborted.set()
        if self._fresh:
            stop_everything(self._settings, self._topology, wait_seconds=20)
            return
        for name in reversed(self._started):
            Supervisor(self._settings).stop(name)

    def _check_ports(self, services: Sequence[Service]) -> None:
        """Before anything is started, so that nothing is half-started. (A stack whose supervisor was killed still
        holds its ports: those are ours, and the start ends them first.)"""
        if self._fresh:
            end_leftovers(self._settings)
        taken = []
        for service in services:
            port = self._topology.port(service.name)
            if not port_is_free(self._topology.bind_host(service.name), port):
                taken.append(f"{service.name} needs port {port}, held by {port_holder(port)}")
        if taken:
            raise PortTaken(
                "; ".join(taken),
                f"stop that process, or put CAPIBARA6_PORT_OFFSET=1000 into {self._settings.home}/settings.env",
            )

    def _bring(self, service: Service, running: set[str]) -> None:
        try:
            self._bring_up(service, running)
        except BaseException:
            self._aborted.set()
            raise
        if service.settle and self._ready[service.name].is_set():
            self._settle(service, service.settle)  # what fails there is no reason to start others less

    def _bring_up(self, service: Service, running: set[str]) -> None:
        began = time.monotonic()
        for name in service.after:
            if name in self._ready:
                while not self._ready[name].wait(POLL_SECONDS):
                    if self._aborted.is_set():
                        return
        before = restarts(self._settings, service.name)
        if service.name not in running:
            if service.prepare:
                self._prepare(service, service.prepare)
            if self._aborted.is_set():
                return
            forget_restarts(self._settings, service.name)
            before = 0
            self._started.append(service.name)
            Supervisor(self._settings).start(service.name)
        found = self._until_ready(service, began, before)
        if found is None:
            return
        self._ready[service.name].set()
        if found.ready:
            say(f"  ✓ {service.name} ready on port {self._topology.port(service.name)} ({elapsed(began)})")
        else:
            say(f"  – {service.name} is unavailable on this machine, the rest is not touched by that: {found.reason}")

    def _until_ready(self, service: Service, began: float, before: int) -> Probe | None:
        """Its last probe: ready, or unavailable for good. None when the bring-up was aborted first. before: its
        restarts until now, which are none of this bring-up's.

        Raises ServiceFailed when it dies again and again, or is late.
        """
        deadline = time.monotonic() + self._settings.service_start_timeout_seconds
        supervisor, told, reason = Supervisor(self._settings), began, ""
        while not self._aborted.is_set():
            process = supervisor.processes().get(service.name)
            dead = process is None or process.state in ("FATAL", "UNKNOWN")
            if dead or restarts(self._settings, service.name) - before > RESTARTS_TOLERATED:
                raise ServiceFailed(
                    f"{service.name} does not start: {last_words(self._settings, service.name)}",
                    f"./capibara6 logs {service.name}",
                )
            found = probe(self._topology, service)
            if found.ready or found.unavailable:
                return found
            reason = found.reason
            if time.monotonic() > deadline:
                raise NotReady(
                    f"{service.name} runs but is not ready after {elapsed(began)}: {reason}",
                    f"./capibara6 logs {service.name}",
                )
            if time.monotonic() - told > 15:
                told = time.monotonic()
                say(f"  … {service.name}: {elapsed(began)}, {reason}")
            self._aborted.wait(POLL_SECONDS)
        return None

    def _settle(self, service: Service, command: tuple[str, ...]) -> None:
        """What a service needs once it answers. Each line that the command writes is told."""
        done = self._run(service.environment, command, SETTLE_SECONDS)
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        if done.returncode != 0:
            words = lines[-1] if lines else "it failed without a word"
            raise NotReady(f"{service.name} runs, but not all is in it yet: {words}", "run ./capibara6 up again")
        for line in lines:
            say(f"  · {service.name}: {line}")

    def _run(self, environment: str, command: tuple[str, ...], seconds: float) -> subprocess.CompletedProcess[str]:
        python = environment_python(self._settings, environment)
        return run_bounded([str(python), *command], stack_environment(self._settings, "prepare"), seconds)

    def _prepare(self, service: Service, command: tuple[str, ...]) -> None:
        with self._prepared[command]:
            if command in self._prepare_done or self._aborted.is_set():
                return
            done = self._run(service.prepare_in or service.environment, command, PREPARE_SECONDS)
            if done.returncode != 0:
                words = (done.stdout.strip().splitlines() or ["it failed without a word"])[-1]
                raise ServiceFailed(f"{' '.join(command)} failed: {words}", f"./capibara6 logs {service.after[0]}")
            self._prepare_done.add(command)


def run_bounded(
    command: list[str], environment: dict[str, str], limit_seconds: float
) -> subprocess.CompletedProcess[str]:
    """Runs a command of ours to its end, output and errors together. One that takes too long fails with status 124."""
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            timeout=limit_seconds, cwd=REPOSITORY, env={**os.environ, **environment, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, f"it took longer than {limit_seconds:.0f} s")


def last_words(settings: Settings, name: str) -> str:
    """The last line a service wrote."""
    try:
        lines = service_log(settings, name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip()[-300:] if lines else "it said nothing"
