"""`python -m models_node.sandbox.gateway`: started by the launcher, which passes it a channel and a private folder."""

from __future__ import annotations

import os
import sys

from fastapi import FastAPI

from models_node.sandbox.gateway.app import SERVICE, assemble, run_folder
from models_node.sandbox.gateway.launcher_client import LauncherClient
from stack.errors import ConfigurationError
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import load_topology
from wire.clients.memory import NodeMemoryClient
from wire.serve import serve

CHANNEL = "CAPIBARA6_LAUNCHER_FD"


def create_app(settings: Settings, secrets: Secrets) -> FastAPI:
    topology = load_topology(settings)
    model_server = f"http://{topology.local_host('model-server')}:{topology.port('model-server')}"
    ledger = NodeMemoryClient(model_server, key=secrets.sandbox_key.get_secret_value())
    return assemble(settings, secrets, LauncherClient(_channel()), ledger, run_folder())


def _channel() -> int:
    """Raises ConfigurationError when nobody handed one over."""
    number = os.environ.get(CHANNEL, "")
    if not number.isdecimal():
        raise ConfigurationError(f"{CHANNEL} names no channel", "start it with `python -m models_node.sandbox`")
    return int(number)


if __name__ == "__main__":
    sys.exit(serve(create_app, service=SERVICE))
