"""A copy of the repository with a home of its own, driven through its launcher as a user drives it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICES = (
    "postgres", "prefect-server", "model-server", "sandbox-gateway", "chat-api", "mcp-server", "smart-mcp",
    "tts-server", "flow-worker", "n8n", "n8n-runner",
)  # fmt: skip
INSTALL_SECONDS = 900
START_SECONDS = 600  # of everything, on a machine that does more besides
MODEL_SECONDS = 300  # a cold load on two busy cores, with room


def copy_repository(target: Path) -> None:
    """What a clone would hold, with the changes that are not committed yet."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source = REPOSITORY / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def remove(*folders: Path) -> None:
    """By `rm`, which takes a fraction of the time that `shutil.rmtree` does for hundreds of thousands of files."""
    subprocess.run(["rm", "-rf", "--", *map(str, folders)], check=False)


def eventually(holds: Callable[[], Any], seconds: float, told: str) -> Any:
    """Waits until `holds()` gives something true, and returns it."""
    deadline = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {told}")
        time.sleep(0.1)


@dataclass
class Stack:
    """One installation. prefix: a command in front of the launcher (another user, a namespace)."""

    root: Path
    port_offset: int
    prefix: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.root / "var"

    def environment(self) -> dict[str, str]:
        kept = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("CAPIBARA6_", "E2B_", "PREFECT_")) and k != "PYTHONPATH"
        }
        return kept | {"CAPIBARA6_PORT_OFFSET": str(self.port_offset), **self.variables}

    def popen(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        command = [*self.prefix, "./capibara6", *arguments]
        return subprocess.Popen(command, cwd=self.root, env=self.environment(), text=True, **options)

    def run(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """One command to its end, output captured."""
        process = self.popen(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
            raise AssertionError(f"{arguments} took longer than {seconds} s\n{out}\n{err}") from None
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def ok(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        done = self.run(*arguments, seconds=seconds)
        assert done.returncode == 0, f"{arguments}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def env(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.ok("env").stdout.splitlines())

    def status(self) -> dict[str, dict[str, Any]]:
        return {entry["name"]: entry for entry in json.loads(self.run("status", "--json").stdout)["services"]}

    def states(self) -> dict[str, str]:
        return {name: entry["state"] for name, entry in self.status().items()}

    def answers(self) -> bool:
        """Whether every service says that it is ready. Cheaper than `status`, which is a program to be started."""
        asked = {"chat-api": "/health/ready", "model-server": "/health/ready", "prefect-server": "/api/health"}
        asked |= {"mcp-server": "/health/ready", "smart-mcp": "/health/ready", "tts-server": "/health/ready"}
        asked |= {"n8n": "/healthz/readiness"}
        asked |= {"sandbox-gateway": "/health/ready"} if os.getuid() == 0 and not self.prefix else {}
        try:
            replies = [httpx.get(self.url(name) + path, timeout=5) for name, path in asked.items()]
            for port in (4201, 5681):  # the flow worker; what runs n8n's code
                with socket.create_connection(("127.0.0.1", port + self.port_offset), timeout=5):
                    pass
        except (httpx.TransportError, OSError):
            return False
        return all(reply.status_code == 200 for reply in replies)

    def url(self, name: str) -> str:
        ports = {
            "sandbox-gateway": 8086,
            "chat-api": 5000,
            "mcp-server": 5003,
            "smart-mcp": 5010,
            "tts-server": 5002,
            "model-server": 8082,
            "prefect-server": 4200,
            "postgres": 5433,
            "n8n": 5678,
        }
        return f"http://127.0.0.1:{ports[name] + self.port_offset}"

    def get(self, service: str, path: str) -> Any:
        reply = httpx.get(self.url(service) + path, timeout=30)
        reply.raise_for_status()
        return reply.json()

    def events(self, message: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """The events of one streamed chat turn; closing the iterator closes the connection."""
        body = {"message": message, "stream": True, "temperature": 0, **fields}
        with httpx.stream("POST", f"{self.url('chat-api')}/api/chat", json=body, timeout=MODEL_SECONDS) as reply:
            assert reply.status_code == 200, reply.read()
            for line in reply.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])

    def run_story(self, run_id: str) -> dict[str, Any]:
        story: dict[str, Any] = self.get("chat-api", f"/api/runs/{run_id}")
        return story

    def engines(self) -> list[psutil.Process]:
        """The first process of each engine that is in memory or being loaded, by the model server's own word: a forked
        one does not carry vLLM's command line."""
        try:
            told = self.get("model-server", "/stats")["engines"]
        except httpx.TransportError:
            return []  # the model server is not up
        return [psutil.Process(engine["pid"]) for engine in told if engine["pid"]]

    def processes(self) -> list[psutil.Process]:
        """Whatever carries this stack's mark."""
        from stack.processes import STACK_ID, marked, stack_id
        from stack.settings import Settings

        return marked(**{STACK_ID: stack_id(Settings(home=self.home))})

    def leaves_nothing(self) -> None:
        """Asserts that no process, port or socket of this stack is left."""
        assert self.processes() == []
        assert [p for p in psutil.process_iter(["cwd"]) if (p.info["cwd"] or "").startswith(str(self.home))] == []
        assert list((self.home / "run").glob("*.sock")) == []
        taken = {c.laddr.port for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr}
        assert taken.isdisjoint(port + self.port_offset for port in (5000, 5003, 5010, 8082, 8086, 4200, 4201, 5433))
