"""A real gateway with its launcher, as root starts it: cgroups, users, namespaces, filters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from e2b_code_interpreter import Sandbox

from stack.secrets import ensure_secrets
from stack.settings import REPOSITORY, read_settings
from tests.integration.models_node.sandbox.whole.waiting import until

OFFSET = 22_500  # below the ports that the kernel gives to connections, as those of other tests
START_SECONDS = 120
VARIABLES = {"CAPIBARA6_SANDBOX_UIDS": "61500", "CAPIBARA6_SANDBOX_STALL_SECONDS": "5"}

if os.getuid() != 0:
    pytest.skip("only root can make users and cgroups for sandboxes", allow_module_level=True)


@dataclass
class Node:
    """The sandbox service of one home; `options()` is what an SDK call needs to reach it."""

    home: Path
    offset: int = OFFSET
    variables: dict[str, str] = field(default_factory=lambda: dict(VARIABLES))
    prefix: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{8086 + self.offset}"

    def options(self) -> dict[str, str]:
        return {"api_key": "local", "api_url": self.url, "sandbox_url": self.url}

    def create(self, **more: object) -> Sandbox:
        return Sandbox.create(**self.options(), **more)  # type: ignore[arg-type]

    def start(self) -> None:
        """Returns when sandboxes can be had."""
        self.begin()
        until(self.ready, START_SECONDS, lambda: (self.home / "log").read_text()[-3000:])

    def begin(self) -> None:
        environment = {
            **os.environ,
            "CAPIBARA6_HOME": str(self.home),
            "CAPIBARA6_PORT_OFFSET": str(self.offset),
            "PYTHONPATH": str(REPOSITORY),
            **self.variables,
        }
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "models_node.sandbox"],
                env=environment,
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
            )

    def ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.home / "log").read_text()[-3000:]
        try:
            return httpx.get(f"{self.url}/health/ready", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)

    def processes(self) -> list[int]:
        """What runs as one of the node's own users: gateway, template, sandboxes."""
        first = int(self.variables["CAPIBARA6_SANDBOX_UIDS"])
        found = []
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                text = status.read_text()
            except OSError:
                continue
            user = int(text.split("Uid:")[1].split()[0])
            if first <= user < first + 100 and "State:\tZ" not in text:
                found.append(int(status.parent.name))
        return found

    def stats(self) -> dict[str, object]:
        content: dict[str, object] = httpx.get(f"{self.url}/stats", trust_env=False).json()
        return content


def make_node(folder: Path, **more: object) -> Node:
    (folder / "envs").symlink_to(Path(sys.prefix).parent)
    ensure_secrets(read_settings(folder))
    return Node(folder, **more)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = make_node(tmp_path_factory.mktemp("node"))
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def sandbox(node: Node) -> Iterator[Sandbox]:
    made = node.create(timeout=120)
    try:
        yield made
    finally:
        made.kill()
