"""Two processes on ports of their own: smart-mcp, and what it forwards to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psutil
from installation import Installation, eventually

HERE = Path(__file__).resolve().parent
SMART = 5010


class Pair:
    def __init__(self, **extra: str) -> None:
        self.home = Installation(extra={"CAPIBARA6_SMART_REFRESH_SECONDS": "0.5", **extra})
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._http = httpx.Client(timeout=20)

    @property
    def smart(self) -> str:
        return f"http://127.0.0.1:{SMART + self.home.offset}"

    def start_smart(self) -> None:
        self._start("smart-mcp", "-m", "services_node.smart_mcp")
        eventually(lambda: httpx.get(f"{self.smart}/health/live").status_code == 200, 60, "smart-mcp answers")

    def start_server(self) -> None:
        self._start("mcp-server", str(HERE / "served_tools.py"))

    def wait_for_tools(self) -> None:
        eventually(lambda: httpx.get(f"{self.smart}/health/ready").status_code == 200, 60, "smart-mcp knows tools")

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.terminate()
        process.wait(20)

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.processes["smart-mcp"].pid).memory_info().rss)

    def post(self, path: str, body: Any) -> httpx.Response:
        return self._http.post(self.smart + path, json=body)

    def offered(self, query: str, **more: Any) -> list[str]:
        reply = self.post("/select", {"query": query, **more})
        assert reply.status_code == 200, reply.text
        return [tool["name"] for tool in reply.json()["tools"]]

    def close(self) -> None:
        for name in list(self.processes):
            self.stop(name)
        self._http.close()
        self.home.close()

    def _start(self, name: str, *arguments: str) -> None:
        with (self.home.home / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *arguments], env=self.home.environment, cwd=HERE.parents[3], stdout=log, stderr=log
            )
