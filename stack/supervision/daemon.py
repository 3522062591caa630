"""One node's supervisord: starting it, talking to it, and ending everything even when it is gone."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stack.errors import ServiceFailed, StackError
from stack.install.report import say
from stack.paths import log_directory, run_directory
from stack.processes import STACK_ID, kill_marked, stack_environment, stack_id
from stack.settings import REPOSITORY, Settings
from stack.supervision.config import config_path, render, socket_path
from stack.topology import Topology

SUPERVISOR_START_SECONDS = 20
SWEEP_GRACE_SECONDS = 10


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What supervisord says of one program. state: STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL, …"""

    name: str
    state: str
    pid: int | None
    description: str


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._path = path
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        return _UnixConnection(self._path, self._timeout)


class Supervisor:
    """Talks to the supervisord of one home. Not shared between threads: each makes its own."""

    def __init__(self, settings: Settings, timeout_seconds: float = 60) -> None:
        self._settings = settings
        transport = _UnixTransport(socket_path(settings), timeout_seconds)
        self._proxy: Any = xmlrpc.client.ServerProxy("http://localhost", transport=transport)

    def is_running(self) -> bool:
        """Raises ServiceFailed when one is there but does not answer: nobody may take it for gone."""
        try:
            return bool(self._proxy.supervisor.getState()["statename"] == "RUNNING")
        except TimeoutError:
            raise ServiceFailed("the supervisor does not answer", "try again; else ./capibara6 down") from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return False

    def processes(self) -> dict[str, ProcessState]:
        """Every program by name; empty when no supervisor answers."""
        try:
            rows = self._proxy.supervisor.getAllProcessInfo()
        except TimeoutError:
            raise ServiceFailed("the supervisor does not answer", "try again; else ./capibara6 down") from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return {}
        return {
            row["name"]: ProcessState(row["name"], row["statename"], row["pid"] or None, row["description"])
            for row in rows
        }

    def start(self, name: str) -> None:
        """Starts one program without waiting. Raises ServiceFailed when it can't even be spawned."""
        self._call("start", name, self._proxy.supervisor.startProcess, allowed=("ALREADY_STARTED",))

    def stop(self, name: str) -> None:
        """Stops one program and waits until it is gone."""
        self._call("stop", name, self._proxy.supervisor.stopProcess, allowed=("NOT_RUNNING",))

    def _call(self, verb: str, name: str, method: Any, allowed: tuple[str, ...]) -> None:
        try:
            method(name, verb == "stop")
        except xmlrpc.client.Fault as fault:
            if not fault.faultString.startswith(allowed):
                raise ServiceFailed(
                    f"{name} could not be {verb}ed: {fault.faultString}", f"./capibara6 logs {name}"
                ) from None
        except (OSError, http.client.HTTPException) as error:
            raise ServiceFailed(f"the supervisor does not answer ({error})", "./capibara6 down, then up") from None

    def shutdown(self) -> None:
        try:
            self._proxy.supervisor.shutdown()
        except (OSError, http.client.HTTPException, xmlrpc.client.Error):
            return  # gone, or going


def table_has_changed(settings: Settings, topology: Topology) -> bool:
    """Whether a supervisor runs by another table of services than today's: of another version, or other wishes."""
    config = config_path(settings)
    if not Supervisor(settings, 5).is_running():
        return False
    return not config.exists() or config.read_text(encoding="utf-8") != render(settings, topology)


def start_supervisor(settings: Settings, topology: Topology) -> bool:
    """Makes sure a supervisord with today's configuration runs; what a dead one left running is ended first.

    Returns whether it was started now: then no service runs yet.
    """
    config = config_path(settings)
    if Supervisor(settings, 5).is_running():
        if not table_has_changed(settings, topology):
            return False
        say("  · the table of services has changed: everything is started anew")
        stop_everything(settings, topology, SUPERVISOR_START_SECONDS)
    end_leftovers(settings)
    config.write_text(render(settings, topology), encoding="utf-8")
    command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(config)]
    log = log_directory(settings) / "supervisord.err"
    with log.open("wb") as output:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=REPOSITORY, check=False,
            env={**os.environ, **stack_environment(settings), "CAPIBARA6_HOME": str(settings.home)},
        )  # fmt: skip
    deadline = time.monotonic() + SUPERVISOR_START_SECONDS
    while done.returncode == 0 and time.monotonic() < deadline:
        if Supervisor(settings, 5).is_running():
            return True
        time.sleep(0.05)
    raise ServiceFailed(f"the supervisor did not start: {log.read_text(errors='replace').strip()[-300:]}", f"see {log}")


def stop_everything(settings: Settings, topology: Topology, wait_seconds: float) -> None:
    """Stops every process of this home's stack, supervisor or not. Leaves no process and no socket."""
    try:
        if Supervisor(settings, 5).is_running():
            _stop_orderly(settings, topology, wait_seconds)
    except StackError as error:
        say(f"  · {error}: everything is ended")
    finally:
        end_leftovers(settings)


def _stop_orderly(settings: Settings, topology: Topology, wait_seconds: float) -> None:
    supervisor = Supervisor(settings, 5)
    order = [service.name for service in reversed(topology.local_services())]
    for name in sorted(supervisor.processes(), key=lambda known: order.index(known) if known in order else -1):
        if supervisor.processes()[name].pid:
            Supervisor(settings, wait_seconds).stop(name)
    supervisor.shutdown()
    deadline = time.monotonic() + wait_seconds
    while time.monotonic() < deadline and Supervisor(settings, 2).is_running():
        time.sleep(0.1)


def end_leftovers(settings: Settings) -> None:
    """Ends every process of this stack, whoever its parent is, and removes sockets and pid files of the dead."""
    kill_marked(STACK_ID, stack_id(settings), SWEEP_GRACE_SECONDS)
    for pattern in ("*.sock", "*.pid", "*.starts"):
        for path in run_directory(settings).glob(pattern):
            path.unlink(missing_ok=True)
