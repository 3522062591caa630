"""Looks at this machine as `up` would find it, and says how to mend what is wrong. Changes nothing."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import psutil

from stack.errors import StackError
from stack.install.environments import ENVIRONMENTS, environment_python, is_installed
from stack.secrets import load_secrets, secrets_path
from stack.settings import REPOSITORY, Settings, read_settings
from stack.supervision.probe import port_holder, port_is_free
from stack.supervision.state import states
from stack.topology import Topology, is_loopback, load_topology

MEMORY_WANTED_BYTES = 10 * 2**30
REACH_SECONDS = 3.0
TRIAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Finding:
    what: str
    ok: bool
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def examine() -> list[Finding]:
    """Every check, in the order a start would meet them."""
    try:
        settings = read_settings()
        topology = load_topology(settings)
    except StackError as error:
        return [Finding(str(error), False, error.mend)]
    checks: list[Callable[[Settings, Topology], Iterator[Finding]]] = [
        _machine, _disk, _environments, _sandboxes, _secrets, _exposure, _ports, _other_nodes,
    ]  # fmt: skip
    return [finding for check in checks for finding in check(settings, topology)]


def _machine(settings: Settings, topology: Topology) -> Iterator[Finding]:
    version = platform.python_version()
    yield Finding(f"Python {version} on {platform.machine()}", sys.version_info >= (3, 11), "use Python 3.11 or newer")
    if platform.machine() not in ("x86_64", "aarch64"):
        yield Finding(f"{platform.machine()} has no packages", False, "use an x86-64 or aarch64 machine")
    memory = psutil.virtual_memory()
    runs_models = any(service.name == "model-server" for service in topology.local_services())
    if runs_models:
        yield Finding(
            f"memory: {memory.total / 2**30:.0f} GiB, {memory.available / 2**30:.0f} available",
            memory.total >= MEMORY_WANTED_BYTES,
            "less than 10 GiB: lower CAPIBARA6_MODELS_MEMORY_BUDGET_BYTES to what can be spared",
        )
    yield Finding(f"node: {topology.node or 'all three roles on this machine'}, profile {settings.profile}", True)


def _disk(settings: Settings, topology: Topology) -> Iterator[Finding]:
    existing = next(path for path in (settings.home, *settings.home.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    needed = sum(
        ENVIRONMENTS[name].disk_bytes for name in _environment_names(topology) if not is_installed(settings, name)
    )
    yield Finding(
        f"disk: {free / 2**30:.1f} GiB free under {settings.home}, {needed / 2**30:.1f} more needed by installation",
        free > needed + 2**30,
        "free some, or move everything: CAPIBARA6_HOME=/path",
    )


def _environments(settings: Settings, topology: Topology) -> Iterator[Finding]:
    for name in _environment_names(topology):
        yield Finding(f"environment {name} as its lock says", is_installed(settings, name), "./capibara6 up")


def _sandboxes(settings: Settings, topology: Topology) -> Iterator[Finding]:
    """What code execution needs of this machine, tried by its own launcher in its own environment."""
    if not any(service.name == "sandbox-gateway" for service in topology.local_services()):
        return
    if not is_installed(settings, "sandbox"):
        return  # said by _environments
    command = [str(environment_python(settings, "sandbox")), "-m", "models_node.sandbox.launcher.checks"]
    variables = {"PYTHONPATH": str(REPOSITORY), "CAPIBARA6_HOME": str(settings.home)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TRIAL_SECONDS, check=True, env={**os.environ, **variables}
        )
        findings = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        yield Finding(f"sandboxes: what they need could not be tried ({type(error).__name__})", False, "./capibara6 up")
        return
    for found in findings:
        yield Finding(f"sandboxes: {found['what']}", found["ok"], found["mend"])


def _secrets(settings: Settings, topology: Topology) -> Iterator[Finding]:
    path = secrets_path(settings)
    if not path.exists():
        yield Finding(f"secrets: none yet ({path})", True)
        return
    try:
        load_secrets(settings)
    except StackError as error:
        yield Finding(str(error), False, error.mend)
    else:
        yield Finding(f"secrets: {path}, readable by their owner only", True)


def _exposure(settings: Settings, topology: Topology) -> Iterator[Finding]:
    """Services that listen beyond this machine."""
    for service in topology.local_services():
        host = topology.bind_host(service.name)
        if not is_loopback(host):
            yield Finding(
                f"{service.name} listens on {host}: keys are asked for",
                secrets_path(settings).exists(),
                "./capibara6 up",
            )


def _ports(settings: Settings, topology: Topology) -> Iterator[Finding]:
    running = {state.name for state, _ in states(settings, topology) if state.pid}
    for service in topology.local_services():
        port = topology.port(service.name)
        if service.name in running:
            yield Finding(f"port {port}: {service.name} runs", True)
        elif port_is_free(topology.bind_host(service.name), port):
            yield Finding(f"port {port}: free for {service.name}", True)
        else:
            mend = "stop that process, or set CAPIBARA6_PORT_OFFSET"
            yield Finding(f"port {port} ({service.name}) is held by {port_holder(port)}", False, mend)


def _other_nodes(settings: Settings, topology: Topology) -> Iterator[Finding]:
    local = {service.name for service in topology.local_services()}
    for service in topology.services():
        calls = topology.node == "services" and service.node == "models-europe"  # who may call whom: design
        if service.name in local or not calls or service.ready_path is None:
            continue
        url = topology.url(service.name) + "/health/live"
        try:
            reachable = httpx.get(url, timeout=REACH_SECONDS, trust_env=False).status_code == 200
        except httpx.HTTPError:
            reachable = False
        yield Finding(
            f"{service.name} on node {service.node} at {url}",
            reachable,
            "start it there, and open its port to this machine",
        )


def _environment_names(topology: Topology) -> list[str]:
    return sorted({service.environment for service in topology.local_services()} - {"stack"})
