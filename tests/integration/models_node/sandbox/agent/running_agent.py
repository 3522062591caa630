"""An agent in a process, and the little of E2B's control plane that the SDK wants before it speaks to one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx

START_SECONDS = 120
_NAMESPACE = ["--pid", "--fork", "--kill-child", "--mount-proc"]


def _isolation() -> list[str]:
    """A pid namespace where one can be had: the agent is pid 1 there, as in a sandbox, and its children end with it."""
    program = shutil.which("unshare")
    if program is None:
        return []
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    command = [program, *user, *_NAMESPACE]
    works = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if works else []


ISOLATION = _isolation()


class RunningAgent:
    """An agent on a port of its own. `home` is its user's home."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        command = [*ISOLATION, sys.executable, "-m", "models_node.sandbox.inside.agent", "--port", "0"]
        self._process = subprocess.Popen([*command, "--home", str(home), *options], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.url = f"http://127.0.0.1:{int(line.strip().rstrip(')').rsplit(',', 1)[1])}"
        self.http = httpx.Client(base_url=self.url, timeout=60)
        wait_for(lambda: self.http.get("/ready").status_code == 200, START_SECONDS)

    def execute(self, code: str, **body: object) -> list[dict[str, object]]:
        """The events of one execution."""
        response = self.http.post("/execute", json={"code": code, **body})
        assert response.status_code == 200, response.text
        return [json.loads(line) for line in response.text.splitlines()]

    def context(self, language: str = "python") -> str:
        """A new context's id."""
        response = self.http.post("/contexts", json={"language": language})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    def children(self) -> list[str]:
        """The state of each of the agent's own children, as `ps` shows it."""
        agent = self._process.pid
        if ISOLATION:
            agent = int(Path(f"/proc/{agent}/task/{agent}/children").read_text().split()[0])
        found = []
        for pid in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
            try:
                found.append(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0])
            except OSError:
                continue
        return found

    def close(self) -> None:
        self.http.close()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class ControlPlane:
    """Answers `create` and `kill`: there is one sandbox, and it is there already."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Control)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Control(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        made = {
            "templateID": "code-interpreter-v1",
            "sandboxID": "sandbox",
            "clientID": "test",
            "envdVersion": "0.6.4",
            "envdAccessToken": "token",
            "trafficAccessToken": "token",
            "domain": None,
        }
        self._answer(201, json.dumps(made).encode())

    def do_DELETE(self) -> None:
        self._answer(204, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    """Until it holds; the test fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.02)
