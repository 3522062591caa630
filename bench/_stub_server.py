"""Our model server, whole and as it is started in earnest, but for its engine: the stub's socket instead of vLLM's.

python -m bench._stub_server SOCKET
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fastapi import FastAPI

from models_node.catalogue import ModelEntry, parse_catalogue
from models_node.errors import EngineFailed
from models_node.residency.engine import Engine
from models_node.residency.measuring import Measurement
from models_node.server.app import SERVICE, assemble
from stack.secrets import Secrets
from stack.settings import Settings
from wire.serve import serve

CATALOGUE = """
default = "stub"
[limits]
memory_budget = "1 GiB"
[[models]]
id = "stub"
domain = "general"
description = "The stub"
capabilities = { tools = true }
context_length = 32768
weights = "stub"
memory_estimate = "1 MiB"
max_concurrent = 512
max_waiting = 512
"""


class StubEngine:
    """Runs already, elsewhere."""

    pid = 1
    can_sleep = False

    def __init__(self, socket: Path) -> None:
        self.socket = socket

    async def ready(self) -> None:
        return

    async def exited(self) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    async def stop(self) -> None:
        return

    async def sleep(self, level: int) -> None:
        raise EngineFailed("it does not sleep")

    async def wake(self) -> None:
        raise EngineFailed("it does not sleep")

    def measure(self) -> Measurement:
        return Measurement(0, 0)


class StubLauncher:
    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def prepare(self) -> list[int]:
        return []

    def close(self) -> None:
        return

    def shared_bytes(self) -> int:
        return 0

    async def launch(self, entry: ModelEntry) -> Engine:
        return StubEngine(self._socket)


def create_app(settings: Settings, secrets: Secrets | None) -> FastAPI:
    return assemble(settings, secrets, parse_catalogue(CATALOGUE, "stub"), StubLauncher(Path(sys.argv[1])))


if __name__ == "__main__":
    sys.exit(serve(create_app, service=SERVICE))
