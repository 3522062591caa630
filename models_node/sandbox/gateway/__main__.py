"""`python -m models_node.sandbox.gateway`: started by the launcher, which passes it a channel and a private folder."""

from __future__ import annotations

import os
import sys

from fastapi import FastAPI

from models_node.sandbox.gateway.app import SERVICE, assemble, run_folder
from models_node.sandbox.gateway.launcher_client import LauncherClient
from models_node.sandbox.gateway.limits import LEDGER_SECONDS
from stack.errors import ConfigurationError
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import load_topology
from wire.clients.memory import NodeMemoryClient
from wire.serve import serve

LAUNCHER_DESCRIPTOR = "CAPIBARA6_LAUNCHER_FD"


def create_app(settings: Settings, secrets: Secrets) -> FastAPI:
    """The application over the real launcher and the node's ledger. Raises ConfigurationError."""
    descriptor = os.environ.get(LAUNCHER_DESCRIPTOR, "")
    if not descriptor.isdecimal():
        raise ConfigurationError(f"{LAUNCHER_DESCRIPTOR} is missing", "start it with `python -m models_node.sandbox`")
    topology = load_topology(settings)
    ledger = NodeMemoryClient(
        f"http://{topology.local_host('model-server')}:{topology.port('model-server')}",
        key=secrets.sandbox_key.get_secret_value(),
        read_seconds=LEDGER_SECONDS,
    )
    return assemble(settings, secrets, lambda: LauncherClient(int(descriptor)), ledger, run_folder())


if __name__ == "__main__":
    sys.exit(serve(create_app, service=SERVICE))
