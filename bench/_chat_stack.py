"""A whole stack for measuring chats: everything real but the engine, in a home and on ports of its own."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.proxy import free_port, running, wait_answering
from stack.install.environments import environment_python
from stack.secrets import Secrets, ensure_secrets
from stack.settings import REPOSITORY, Settings, get_settings
from stack.topology import Topology, load_topology

START_SECONDS = 120.0
OFFSETS = range(10_000, 24_000)
SERVICES = ("mcp-server", "smart-mcp", "chat-api")


@dataclass(frozen=True, slots=True)
class ChatStack:
    """A running one. stop_prefect: ends its Prefect server."""

    settings: Settings
    secrets: Secrets
    topology: Topology
    stop_prefect: Callable[[], None]

    def ready(self, service: str) -> dict[str, Any]:
        """What `/health/ready` tells, by check."""
        told = httpx.get(f"{self.topology.url(service)}/health/ready", timeout=5, trust_env=False).json()
        checks: dict[str, Any] = told["checks"]
        return checks

    def wait_for_prefect(self, *, there: bool) -> None:
        """Until the chat API has noticed."""
        wait_until(lambda: (self.ready("chat-api")["prefect"] == "ok") is there, f"Prefect's being there: {there}")


def wait_until(holds: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    """Raises RuntimeError when it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def free_offset(topology: Callable[[int], Topology]) -> int:
    """An offset at which every port of ours is free."""
    for _ in range(200):
        offset = random.choice(OFFSETS)
        placed = topology(offset)
        try:
            for service in placed.services():
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", placed.port(service.name)))
        except OSError:
            continue
        return offset
    raise RuntimeError("no ports are free")


@contextlib.contextmanager
def chat_stack() -> Iterator[ChatStack]:
    models_python = str(environment_python(get_settings(), "models"))
    with tempfile.TemporaryDirectory(prefix="capibara6-chat-") as name, contextlib.ExitStack() as processes:
        home = Path(name)
        home.chmod(0o755)  # the database's system user must be able to pass
        offset = free_offset(lambda offset: load_topology(Settings(home=home, port_offset=offset)))
        settings = Settings(home=home, port_offset=offset)
        secrets, topology = ensure_secrets(settings), load_topology(settings)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CAPIBARA6_", "PREFECT_"))}
        environment = kept | {
            "CAPIBARA6_HOME": str(home),
            "CAPIBARA6_PORT_OFFSET": str(offset),
            "PYTHONPATH": str(REPOSITORY),
        }

        def start(name: str, command: list[str], url: str, within: contextlib.ExitStack = processes) -> None:
            log = home / f"{name}.log"
            process = within.enter_context(running(command, log, environment))
            if url:
                wait_answering(url, process, log)

        def start_service(name: str, within: contextlib.ExitStack = processes) -> None:
            service = topology.service(name)
            url = f"{topology.url(name)}{service.ready_path}"
            start(name, [sys.executable, *service.command], url, within)

        engine_socket, engine_port = home / "engine", free_port()
        engine = [models_python, "-m", "bench._stub_engine", str(engine_socket), str(engine_port)]
        start("engine", engine, f"http://127.0.0.1:{engine_port}/")
        models = topology.url("model-server")
        start("model-server", [models_python, "-m", "bench._stub_server", str(engine_socket)], f"{models}/health/live")
        httpx.post(f"{models}/models/stub/load", timeout=START_SECONDS, trust_env=False).raise_for_status()
        postgres = [sys.executable, *topology.service("postgres").command]
        processes.enter_context(running(postgres, home / "postgres.log", environment, signal.SIGINT))
        prepare = [sys.executable, "-m", "db", "prepare"]
        subprocess.run(prepare, cwd=REPOSITORY, env=environment, check=True, timeout=START_SECONDS, stderr=sys.stderr)
        prefect = processes.enter_context(contextlib.ExitStack())
        start_service("prefect-server", prefect)
        for service in SERVICES:
            start_service(service)
        stack = ChatStack(settings, secrets, topology, prefect.close)
        stack.wait_for_prefect(there=True)
        yield stack
