"""What `status` shows: supervision and readiness, put together."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

from stack.paths import run_directory
from stack.processes import SERVICE, STACK_ID, marked, stack_id
from stack.settings import Settings
from stack.supervision.daemon import ProcessState, Supervisor
from stack.supervision.probe import Probe, probe
from stack.topology import Service, Topology

State = Literal["ready", "starting", "unavailable", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One entry of `status --json`. restarts: since `up` or `restart` started it."""

    name: str
    node: str
    port: int
    state: State
    pid: int | None
    restarts: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def decide(process: ProcessState | None, found: Probe, restarts: int) -> State:
    """The one word for a service, of what supervisord and its readiness say."""
    if process is None or process.state in ("STOPPED", "STOPPING"):
        return "stopped"
    if process.state in ("FATAL", "UNKNOWN"):
        return "failed"
    if process.state in ("BACKOFF", "EXITED"):
        return "failed" if restarts >= 3 else "starting"  # it keeps dying: say so before supervisord gives up
    if found.unavailable:
        return "unavailable"  # it runs, and says why it can do nothing on this machine
    return "ready" if found.ready else "starting"


def states(settings: Settings, topology: Topology) -> list[tuple[ServiceState, str]]:
    """Each service of this machine, with what is missing for its readiness in words."""
    services = topology.local_services()
    processes: Mapping[str, ProcessState] = Supervisor(settings, 5).processes() or _orphans(settings)
    with ThreadPoolExecutor(max(1, len(services))) as pool:
        probes = list(pool.map(lambda service: _probe(topology, service, processes.get(service.name)), services))
    return [
        (_state(settings, topology, service, processes.get(service.name), found), found.reason)
        for service, found in zip(services, probes, strict=True)
    ]


def restarts(settings: Settings, name: str) -> int:
    """How often a service was started again since it was asked to start."""
    try:
        return max(0, len((run_directory(settings) / f"{name}.starts").read_text(encoding="utf-8").splitlines()) - 1)
    except OSError:
        return 0


def forget_restarts(settings: Settings, name: str) -> None:
    (run_directory(settings) / f"{name}.starts").unlink(missing_ok=True)


def _probe(topology: Topology, service: Service, process: ProcessState | None) -> Probe:
    if process is None or process.pid is None:
        return Probe(False, process.description if process else "")
    return probe(topology, service)


def _state(
    settings: Settings, topology: Topology, service: Service, process: ProcessState | None, found: Probe
) -> ServiceState:
    again = restarts(settings, service.name)
    pid = process.pid if process else None
    port = topology.port(service.name)
    return ServiceState(service.name, service.node, port, decide(process, found, again), pid, again)


def _orphans(settings: Settings) -> dict[str, ProcessState]:
    """Services that outlived their supervisor (it was killed): the eldest process that carries each one's mark."""
    found: dict[str, ProcessState] = {}
    for process in sorted(marked(**{STACK_ID: stack_id(settings)}), key=lambda p: p.pid):
        name = process.environ().get(SERVICE)
        if name and name not in found:
            found[name] = ProcessState(name, "RUNNING", process.pid, "its supervisor is gone: ./capibara6 up")
    return found
