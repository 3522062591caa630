import configparser
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stack.paths import UNIX_PATH_LIMIT, run_directory
from stack.settings import Settings
from stack.supervision.config import render
from stack.supervision.daemon import ProcessState
from stack.supervision.probe import Probe, port_holder, port_is_free, probe
from stack.supervision.state import decide
from stack.topology import SERVICES, load_topology

READY, WAITING = Probe(True, ""), Probe(False, "not yet")
LACKING = Probe(False, "this machine lacks cgroups", unavailable=True)


def process(state: str) -> ProcessState:
    return ProcessState("chat-api", state, 1, "")


@pytest.mark.parametrize(
    ("given", "found", "restarts", "expected"),
    [
        (None, WAITING, 0, "stopped"),
        (process("STOPPED"), WAITING, 0, "stopped"),
        (process("STARTING"), WAITING, 0, "starting"),
        (process("STARTING"), READY, 0, "ready"),
        (process("RUNNING"), READY, 3, "ready"),
        (process("RUNNING"), WAITING, 0, "starting"),
        (process("RUNNING"), LACKING, 0, "unavailable"),
        (process("BACKOFF"), WAITING, 1, "starting"),
        (process("BACKOFF"), WAITING, 4, "failed"),
        (process("FATAL"), WAITING, 12, "failed"),
    ],
)
def test_the_word_for_a_service(given: ProcessState | None, found: Probe, restarts: int, expected: str) -> None:
    assert decide(given, found, restarts) == expected


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[int, dict[str, str]], Probe]]:
    """Probes a sandbox gateway that answers so."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    reply: tuple[int, bytes] = (200, b"{}")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(reply[0])
            self.send_header("content-length", str(len(reply[1])))
            self.end_headers()
            self.wfile.write(reply[1])

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def ask(status: int, content: dict[str, str]) -> Probe:
        nonlocal reply
        reply = (status, json.dumps(content).encode())
        topology = load_topology(Settings(home=tmp_path, port_offset=server.server_port - 8086))
        return probe(topology, topology.service("sandbox-gateway"))

    try:
        yield ask
    finally:
        server.shutdown()
        server.server_close()


def test_what_a_machine_cannot_offer_is_told_from_what_is_not_ready_yet(
    answering: Callable[[int, dict[str, str]], Probe],
) -> None:
    lacking = answering(503, {"status": "unavailable", "reason": "no cgroups", "mend": "Delegate=yes"})
    assert lacking == Probe(False, "no cgroups: Delegate=yes", unavailable=True)
    assert not answering(503, {"status": "starting", "reason": "soon"}).unavailable
    assert answering(200, {"status": "ready"}) == Probe(True, "")


def test_the_supervisors_configuration_has_a_program_for_each_row(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    parser = configparser.RawConfigParser()
    parser.read_string(render(settings, load_topology(settings)))
    for service in SERVICES:
        program = parser[f"program:{service.name}"]
        assert program["command"].endswith(f"-m stack.exec_service {service.name}")
        assert program["stopsignal"] == service.stop_signal
        assert "CAPIBARA6_STACK_ID=" in program["environment"]
        assert "password" not in str(dict(program)).lower()
    assert parser["unix_http_server"]["chmod"] == "0600"


def test_sockets_of_a_home_with_a_long_name_still_fit(tmp_path: Path) -> None:
    home = tmp_path / ("a" * 120)
    directory = run_directory(Settings(home=home))
    assert len(os.fsencode(directory / "engine-aya_expanse_multilingual.sock")) <= UNIX_PATH_LIMIT
    assert directory.stat().st_mode & 0o777 == 0o700
    directory.rmdir()


def test_a_port_in_use_is_named_with_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert not port_is_free("127.0.0.1", port)
        assert f"process {os.getpid()}" in port_holder(port)
    assert port_is_free("127.0.0.1", port)
