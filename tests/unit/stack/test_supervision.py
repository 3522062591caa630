import configparser
import os
import socket
from pathlib import Path

import pytest

from stack.paths import UNIX_PATH_LIMIT, run_directory
from stack.settings import Settings
from stack.supervision.config import render
from stack.supervision.daemon import ProcessState
from stack.supervision.probe import port_holder, port_is_free
from stack.supervision.state import decide
from stack.topology import SERVICES, load_topology


def process(state: str) -> ProcessState:
    return ProcessState("chat-api", state, 1, "")


@pytest.mark.parametrize(
    ("given", "ready", "restarts", "expected"),
    [
        (None, False, 0, "stopped"),
        (process("STOPPED"), False, 0, "stopped"),
        (process("STARTING"), False, 0, "starting"),
        (process("STARTING"), True, 0, "ready"),
        (process("RUNNING"), True, 3, "ready"),
        (process("RUNNING"), False, 0, "starting"),
        (process("BACKOFF"), False, 1, "starting"),
        (process("BACKOFF"), False, 4, "failed"),
        (process("FATAL"), False, 12, "failed"),
    ],
)
def test_the_word_for_a_service(given: ProcessState | None, ready: bool, restarts: int, expected: str) -> None:
    assert decide(given, ready, restarts) == expected


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
