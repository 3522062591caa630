"""The model server as a process of its own, over real engines and this installation's weights."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from stack.secrets import ensure_secrets
from stack.settings import REPOSITORY, Settings, get_settings
from stack.topology import load_topology

START_SECONDS = 60.0
STOP_SECONDS = 30.0


def on_free_ports(home: Path) -> Settings:
    """Settings that put the model server where nobody listens, below the ports that connections are given."""
    while True:
        settings = Settings(home=home, port_offset=random.randrange(10_000, 23_000))
        address = ("127.0.0.1", load_topology(settings).port("model-server"))
        with contextlib.suppress(OSError), socket.create_server(address):
            return settings


@contextlib.contextmanager
def model_server(folder: Path, **variables: str) -> Iterator[str]:
    """Its base URL. `variables`: more settings, by name without the prefix. What it said is in `folder`/server.log."""
    home = folder / "home"
    home.mkdir()
    installed = get_settings().home
    (installed / "cache").mkdir(exist_ok=True)
    for name in ("weights", "cache"):  # what an engine's first start compiles is not compiled for each test anew
        (home / name).symlink_to(installed / name)
    settings = on_free_ports(home)
    ensure_secrets(settings)
    own = {"HOME": str(home), "PORT_OFFSET": str(settings.port_offset)} | {
        name.upper(): value for name, value in variables.items()
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAPIBARA6_")}
    environment |= {f"CAPIBARA6_{name}": value for name, value in own.items()} | {"PYTHONPATH": str(REPOSITORY)}
    url = f"http://127.0.0.1:{load_topology(settings).port('model-server')}"
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "models_node"], cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_ready(url, process, folder / "server.log")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/health/ready", timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.05)
    raise RuntimeError(f"the model server is not ready: {log.read_text(errors='replace')[-2000:]}")
