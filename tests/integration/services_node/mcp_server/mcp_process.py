"""Starts and stops one MCP server process."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import httpx
from installation import REPOSITORY, eventually

from stack.secrets import Secrets, ensure_secrets
from stack.settings import Settings

PORT = 5003


class McpProcess:
    """extra: settings by variable. Its home, with keys in it, is its own."""

    def __init__(self, script: Path, extra: dict[str, str] | None = None, port: int | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="capibara6-mcp-"))
        self.secrets: Secrets = ensure_secrets(Settings(home=self.home))
        self.port = port or free_port()
        self._script = script
        self._extra = extra or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def mcp(self) -> str:
        return f"{self.url}/mcp"

    @property
    def resident_bytes(self) -> int:
        assert self._process is not None
        fields = Path(f"/proc/{self._process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def log(self) -> str:
        return (self.home / "log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> McpProcess:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CAPIBARA6_")}
        environment = kept | {
            "CAPIBARA6_HOME": str(self.home),
            "CAPIBARA6_PORT_OFFSET": str(self.port - PORT),
            "PYTHONPATH": str(REPOSITORY),
            **self._extra,
        }
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(self._script)], env=environment, cwd=REPOSITORY, stdout=log, stderr=log
            )
        eventually(self._answers, 90, "the MCP server answers")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log()
        return httpx.get(f"{self.url}/health/live").status_code == 200

    def stop(self, seconds: float = 20) -> int:
        """Its exit status after a SIGTERM."""
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
            raise AssertionError(f"the MCP server did not stop within {seconds} s: {self.log()[-2000:]}") from None

    def close(self) -> None:
        if self._process is not None:
            self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> McpProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def free_port() -> int:
    """Above the service's own, as its offset is not negative, and below those that the system gives to callers."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
