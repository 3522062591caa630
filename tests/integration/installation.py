"""A stack of its own for tests: real Postgres, real Prefect, the chat API, and a fake model server."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]
PORTS = {
    "postgres": 5433,
    "prefect-server": 4200,
    "model-server": 8082,
    "sandbox-gateway": 8086,
    "chat-api": 5000,
    "tts-server": 5002,
    "mcp-server": 5003,
    "smart-mcp": 5010,
    "flow-worker": 4201,
    "n8n": 5678,
    "receiver": 5699,  # of the tests: who is told of ended runs
}
COMMANDS = {
    "postgres": ["-m", "db.embedded"],
    "prefect-server": ["-m", "flows.prefect_server"],
    "model-server": [str(REPOSITORY / "tests" / "integration" / "fake_models.py")],
    "sandbox-gateway": [str(REPOSITORY / "tests" / "integration" / "fake_sandboxes.py")],
    "chat-api": ["-m", "services_node.chat_api"],
    "tts-server": [str(REPOSITORY / "tests" / "integration" / "fake_tts.py")],
    "mcp-server": ["-m", "services_node.mcp_server"],
    "smart-mcp": ["-m", "services_node.smart_mcp"],
    "flow-worker": ["-m", "flows.worker"],
}

FAKES = ("model-server", "sandbox-gateway", "tts-server")  # programs of the tests, which are told their port

T = TypeVar("T")


def eventually(check: Callable[[], T], seconds: float, what: str) -> T:
    """Asks until the answer is true (errors of a service that is not there yet count as no), at most so long."""
    deadline = time.monotonic() + seconds
    last: Any = None
    while time.monotonic() < deadline:
        try:
            last = check()
        except (httpx.HTTPError, OSError) as error:
            last = error
        else:
            if last:
                return last
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s: {what} (last: {last!r})")


def reserve_offset() -> tuple[int, BinaryIO]:
    """An offset whose ports are free, and the lock by which it is nobody else's while that is open: between the look
    and the services' start another installation, also of another process, would find the same ports free.
    """
    for offset in range(10_000, 40_000, 37):
        if lock := _locked(offset):
            if all(_is_free(port + offset) for port in PORTS.values()):
                return offset, lock
            lock.close()
    raise AssertionError("no free ports")


def _locked(offset: int) -> BinaryIO | None:
    """The files stay: a lock on one that another process has removed meanwhile would hold nothing."""
    try:
        lock = (Path(tempfile.gettempdir()) / f"capibara6-test-offset-{offset}.lock").open("ab")
    except OSError:  # another user's
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return None
    return lock


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass
class Installation:
    home: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="capibara6-test-")))
    extra: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.offset, self._reserved = reserve_offset()
        self.home.chmod(0o755)  # the database's system user must be able to pass
        secrets = "from stack.settings import get_settings as s; from stack.secrets import ensure_secrets as e; e(s())"
        self.run("-c", secrets).check_returncode()

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("CAPIBARA6_", "PREFECT_", "E2B_"))
        }
        return kept | {
            "CAPIBARA6_HOME": str(self.home),
            "CAPIBARA6_PORT_OFFSET": str(self.offset),
            "PYTHONPATH": str(REPOSITORY),
            **self.extra,
        }

    def port(self, service: str) -> int:
        return PORTS[service] + self.offset

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.port(service)}"

    def log(self, service: str) -> str:
        return (self.home / f"{service}.log").read_text(encoding="utf-8", errors="replace")

    def run(self, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments], env=self.environment, cwd=REPOSITORY, text=True, capture_output=True,
            timeout=timeout, check=False,
        )  # fmt: skip

    def start(self, service: str) -> subprocess.Popen[bytes]:
        arguments = [*COMMANDS[service], *([str(self.port(service))] if service in FAKES else [])]
        with (self.home / f"{service}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], env=self.environment, cwd=REPOSITORY, stdout=log, stderr=log
            )
        self.processes[service] = process
        return process

    def stop(self, service: str, sign: signal.Signals = signal.SIGTERM, seconds: float = 30) -> int:
        process = self.processes.pop(service)
        process.send_signal(sign)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise AssertionError(f"{service} did not stop within {seconds} s of {sign.name}") from None

    def start_postgres(self) -> None:
        self.start("postgres")
        done = self.run("-m", "db", "prepare", "--wait-seconds", "30")
        assert done.returncode == 0, done.stderr + self.log("postgres")

    def start_prefect(self) -> None:
        self.start("prefect-server")
        self.wait_for_prefect()

    def wait_for_prefect(self) -> None:
        health = f"{self.url('prefect-server')}/api/health"
        eventually(lambda: httpx.get(health).status_code == 200, 120, "Prefect answers")

    def start_chat(self) -> None:
        self.start("chat-api")
        live = f"{self.url('chat-api')}/health/live"
        eventually(lambda: httpx.get(live).status_code == 200, 60, "the chat API answers")

    def wait_for_flows(self) -> None:
        """Until the chat API's flow thread has found Prefect."""
        ready = f"{self.url('chat-api')}/health/ready"
        eventually(lambda: httpx.get(ready).json()["checks"]["prefect"] == "ok", 60, "the chat API has found Prefect")

    def close(self) -> None:
        for service in (
            "flow-worker",
            "smart-mcp",
            "mcp-server",
            "chat-api",
            "prefect-server",
            "sandbox-gateway",
            "tts-server",
            "model-server",
            "postgres",
        ):
            process = self.processes.pop(service, None)
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGINT if service == "postgres" else signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(10)
        self._reserved.close()
        shutil.rmtree(self.home, ignore_errors=True)
