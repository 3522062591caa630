"""The assistant with everything it calls: what is asked of it, what is under way in each part, what is left."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from installation import COMMANDS, PORTS, REPOSITORY, Installation, eventually

from flows.tools.box import AWAY_SECONDS

HERE = Path(__file__).resolve().parent
NEIGHBOURS = "neighbour__wait_long"
SECONDS = 5.0  # within which what was cancelled has ended everywhere
ACTIVE = re.compile(r"^(capibara6_chat_active_turns|capibara6_code_active_runs|mcp_tool_calls_active) (\S+)$", re.M)


class Asked:
    """A POST under way, whose answer nobody has read yet."""

    def __init__(self, url: str, path: str, body: dict[str, Any]) -> None:
        self.run_id = str(uuid.uuid4())
        self.path = path
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
        headers = {"content-type": "application/json", "x-capibara6-run-id": self.run_id}
        self._connection.request("POST", path, json.dumps(body), headers)

    def leave(self) -> None:
        self._connection.close()

    def answer(self) -> str:
        """The whole answer, whatever its status."""
        text = self._connection.getresponse().read().decode()
        self._connection.close()
        return text


@dataclass
class Assistant:
    stack: Installation
    api: httpx.Client = field(init=False)
    http: httpx.Client = field(init=False)  # for every other service
    site: Site = field(init=False)
    neighbour: Neighbour = field(init=False)

    def __post_init__(self) -> None:
        self.api = httpx.Client(base_url=self.stack.url("chat-api"), timeout=30)
        self.http = httpx.Client(timeout=30)
        self.site, self.neighbour = Site(), Neighbour(self.stack)

    def start(self) -> None:
        self.start_tools()
        self.start_smart()
        self.wait_for_tools()

    def start_tools(self) -> None:
        """The MCP server, which offers a tool of somebody else's server beside its own."""
        settings = {"CAPIBARA6_FETCH_PORTS": f"80,443,{self.site.port}", "CAPIBARA6_MCP_SERVERS": self.neighbour.listed}
        self._with("mcp-server", [str(HERE / "waiting_server.py")], settings)

    def start_smart(self) -> None:
        self._with("smart-mcp", COMMANDS["smart-mcp"], {"CAPIBARA6_SMART_REFRESH_SECONDS": "0.5"})

    def wait_for_tools(self) -> None:
        """Until the smart one offers what the other has, the neighbour's tool included, and a chat would ask it: one
        that found it away leaves it alone for a moment."""
        url, wanted = f"{self.stack.url('smart-mcp')}/select", {"query": NEIGHBOURS, "allowed": [NEIGHBOURS]}
        eventually(lambda: httpx.post(url, json=wanted).json().get("tools"), 60, "smart-mcp knows the tools")
        if self.api.get("/api/health").json()["services"]["tools"] != "ok":
            time.sleep(AWAY_SECONDS)

    def _with(self, service: str, command: list[str], extra: dict[str, str]) -> None:
        """Starts a service with settings that are only its own."""
        before, kept = COMMANDS[service], self.stack.extra
        COMMANDS[service], self.stack.extra = command, {**kept, **extra}
        try:
            self.stack.start(service)
        finally:
            COMMANDS[service], self.stack.extra = before, kept
        live = f"{self.stack.url(service)}/health/live"
        eventually(lambda: httpx.get(live).status_code == 200, 60, f"{service} answers")

    def ask(self, path: str, body: dict[str, Any]) -> Asked:
        return Asked(self.stack.url("chat-api"), path, body)

    def run(self, run_id: str) -> dict[str, Any]:
        story: dict[str, Any] = self.api.get(f"/api/runs/{run_id}").json()
        return story

    def ended(self, run_id: str) -> dict[str, Any]:
        """The run's story, once it has ended."""

        def over() -> dict[str, Any] | None:
            story = self.run(run_id)
            return story if story.get("status") not in (None, 404, "queued", "running") else None

        found = eventually(over, SECONDS, f"run {run_id} has ended")
        assert found is not None
        return found

    def messages(self, conversation_id: str) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = self.api.get(f"/api/conversations/{conversation_id}").json()["messages"]
        return told

    # what is under way

    def models(self) -> dict[str, Any]:
        return self._watch("model-server", "/watch/state")

    def sandboxes(self) -> dict[str, Any]:
        return self._watch("sandbox-gateway")

    def tools(self) -> dict[str, Any]:
        return self._watch("mcp-server")

    def _watch(self, service: str, path: str = "/watch") -> dict[str, Any]:
        told: dict[str, Any] = self.http.get(self.stack.url(service) + path).json()
        return told

    def under_way(self) -> dict[str, Any]:
        """Whatever any part still does, by its name; empty where nothing is."""
        models, sandboxes = self.models(), self.sandboxes()
        found = {
            "model streams": models["open"],
            "model calls that wait": models["waiting"],
            "sandboxes being made": sandboxes["creating"],
            "code that runs": sandboxes["running"],
            "sandboxes of nobody": sum("conversation_id" not in one["metadata"] for one in sandboxes["sandboxes"]),
        }
        if "mcp-server" in self.stack.processes:
            found["tools"] = len(self.tools()["waiting"])
        found |= {"pages being fetched": self.site.open, "tools of another server": len(self.neighbour.waiting())}
        for service in ("chat-api", "mcp-server"):
            if service in self.stack.processes:
                gauges = ACTIVE.findall(self.http.get(f"{self.stack.url(service)}/metrics").text)
                found |= {name: float(value) for name, value in gauges}
        return {name: count for name, count in found.items() if count}

    def nothing_runs(self) -> None:
        """Waits, for seconds at most, until no part does anything."""
        try:
            eventually(lambda: not self.under_way(), SECONDS, "nothing runs")
        except AssertionError:
            raise AssertionError(f"still under way: {self.under_way()}") from None

    @contextmanager
    def slow_sandboxes(self, seconds: float) -> Iterator[None]:
        url = f"{self.stack.url('sandbox-gateway')}/watch/slow"
        httpx.post(url, json={"seconds": seconds})
        try:
            yield
        finally:
            httpx.post(url, json={"seconds": 0})

    def close(self) -> None:
        for service in ("smart-mcp", "mcp-server"):
            if service in self.stack.processes:
                self.stack.stop(service)
        self.api.close()
        self.http.close()
        self.site.close()
        self.neighbour.close()


class Neighbour:
    """Somebody else's MCP server: the same program, elsewhere."""

    def __init__(self, stack: Installation) -> None:
        self.port = free_port()
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        listed = stack.home / "neighbour.toml"
        listed.write_text(
            f'[servers.neighbour]\nurl = "http://127.0.0.1:{self.port}/mcp"\nallowed_tools = ["wait_long"]\n'
            "read_only = true\n"
        )
        self.listed = str(listed)
        environment = {**stack.environment, "CAPIBARA6_PORT_OFFSET": str(self.port - PORTS["mcp-server"])}
        with (stack.home / "neighbour.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "waiting_server.py")], env=environment, cwd=REPOSITORY,
                stdout=log, stderr=log,
            )  # fmt: skip

    def waiting(self) -> list[str]:
        told: list[str] = self._http.get("/watch").json()["waiting"]
        return told

    def close(self) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(20)


def free_port() -> int:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        if port > PORTS["mcp-server"]:  # an offset is not negative
            return port


class Site:
    """A web server that takes requests and never answers. open: connections on which one waits."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.open = 0
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/page"

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=self._wait, args=(self._listener.accept()[0],), daemon=True).start()

    def _wait(self, connection: socket.socket) -> None:
        self.open += 1
        with connection, suppress(OSError):
            while connection.recv(65536):
                pass  # the request; nothing more comes until the client leaves
        self.open -= 1

    def close(self) -> None:
        self._listener.close()
