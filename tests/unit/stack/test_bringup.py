"""Bringing services up, with a supervisor that is none: what runs already, what is started anew, what is settled."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stack.errors import NotReady
from stack.settings import Settings
from stack.supervision import bringup
from stack.supervision.bringup import BringUp
from stack.supervision.daemon import ProcessState
from stack.supervision.probe import Probe
from stack.topology import Service, load_topology


class House:
    """running: before. anew: whether the supervisor has to be started anew. restarts: of each service, so far."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.anew = False
        self.started: list[str] = []
        self.restarts: dict[str, int] = {}
        self.settled = subprocess.CompletedProcess[str]([], 0, "2 workflows\n", "")


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    house = House()

    class Supervisor:
        def __init__(self, *_: object) -> None:
            pass

        def processes(self) -> dict[str, ProcessState]:
            names = house.running | set(house.started)
            return {name: ProcessState(name, "RUNNING", 1, "") for name in names}

        def start(self, name: str) -> None:
            house.started.append(name)

    def start_supervisor(*_: object) -> bool:
        if house.anew:
            house.running = set()
        return house.anew

    def forget(_: Settings, name: str) -> None:
        house.restarts[name] = 0

    monkeypatch.setattr(bringup, "Supervisor", Supervisor)
    monkeypatch.setattr(bringup, "start_supervisor", start_supervisor)
    monkeypatch.setattr(bringup, "end_leftovers", lambda _: None)
    monkeypatch.setattr(bringup, "port_is_free", lambda *_: True)
    monkeypatch.setattr(bringup, "probe", lambda *_: Probe(True, ""))
    monkeypatch.setattr(bringup, "restarts", lambda _, name: house.restarts.get(name, 0))
    monkeypatch.setattr(bringup, "forget_restarts", forget)
    monkeypatch.setattr(bringup, "run_bounded", lambda *_: house.settled)
    return house


def bring(tmp_path: Path, *names: str) -> None:
    settings = Settings(home=tmp_path)
    topology = load_topology(settings)
    chosen: list[Service] = [service for service in topology.local_services() if not names or service.name in names]
    BringUp(settings, topology, chosen).run()


def test_what_runs_already_is_left_alone(house: House, tmp_path: Path) -> None:
    house.running = {"tts-server"}
    bring(tmp_path, "tts-server", "mcp-server")
    assert house.started == ["mcp-server"]


def test_a_changed_table_of_services_starts_all_of_them_again(house: House, tmp_path: Path) -> None:
    """They were stopped with the supervisor that ran by the old one, and were taken for running."""
    house.running, house.anew = {"tts-server", "mcp-server"}, True
    bring(tmp_path, "tts-server", "mcp-server")
    assert sorted(house.started) == ["mcp-server", "tts-server"]


def test_restarts_of_earlier_days_are_not_held_against_a_running_service(house: House, tmp_path: Path) -> None:
    house.running, house.restarts = {"n8n", "n8n-runner"}, {"n8n-runner": 7}
    bring(tmp_path, "n8n", "n8n-runner")
    assert house.started == []


def test_what_cannot_be_settled_is_told_and_what_waits_for_it_is_started_all_the_same(
    house: House, tmp_path: Path
) -> None:
    house.settled = subprocess.CompletedProcess([], 1, "n8n lets nobody in\n", "")
    house.running = {"n8n"}
    with pytest.raises(NotReady, match="n8n lets nobody in"):
        bring(tmp_path, "n8n", "n8n-runner")
    assert house.started == ["n8n-runner"]
