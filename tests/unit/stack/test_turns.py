"""One `up` in turns: chat can be used while n8n is still installed, and what began is not taken along by what fails."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from stack.commands import lifecycle
from stack.commands.lifecycle import Start, by_turns
from stack.errors import InstallError, NotReady, ServiceFailed
from stack.settings import Settings
from stack.topology import Service, load_topology


class House:
    """What was done, in order. faults: what bringing up a service, or installing an environment, ends with."""

    def __init__(self, settings: Settings) -> None:
        self.done: list[str] = []
        self.faults: dict[str, BaseException] = {}
        self.n8n_may_end = threading.Event()
        self.n8n_may_end.set()
        self.start = Start(settings, load_topology(settings))

    def install(self, _: Settings, names: Sequence[str]) -> None:
        if "n8n" in names and not self.n8n_may_end.wait(10):
            raise AssertionError("nobody started the rest meanwhile")
        self.done.append(f"install {' '.join(names)}")
        self._fail(names)

    def bring_up(self, names: Sequence[str]) -> None:
        self.n8n_may_end.set()
        self.done.append("start" if "n8n" not in names else "start n8n")
        self._fail(names)

    def _fail(self, names: Sequence[str]) -> None:
        for name in names:
            if name in self.faults:
                raise self.faults[name]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    settings = Settings(home=tmp_path)
    house = House(settings)

    class BringUp:
        def __init__(self, _: object, __: object, services: Sequence[Service]) -> None:
            self.names = [service.name for service in services]

        def run(self) -> None:
            house.bring_up(self.names)

        def undo(self) -> None:
            house.done.append("undo n8n" if "n8n" in self.names else "undo")

    monkeypatch.setattr(lifecycle, "BringUp", BringUp)
    monkeypatch.setattr(lifecycle, "install", house.install)
    return house


def turns() -> tuple[list[Service], list[Service]]:
    return by_turns(load_topology(Settings(home=Path("/nowhere"))).local_services())


def test_the_rest_is_started_while_n8n_is_still_installed(house: House) -> None:
    first, later = turns()
    house.n8n_may_end.clear()
    house.start.begin(first, install_meanwhile=later)
    house.start.go_on(later)
    assert house.done == ["install models sandbox services", "start", "install n8n", "start n8n"]
    assert house.start.late is None


def test_an_installation_of_n8n_that_fails_leaves_the_rest_running(house: House) -> None:
    first, later = turns()
    house.faults["n8n"] = InstallError("npm cannot be reached", "connect")
    house.start.begin(first, install_meanwhile=later)
    with pytest.raises(InstallError, match="npm"):
        house.start.go_on(later)
    assert "undo" not in house.done


def test_an_n8n_that_does_not_start_is_stopped_alone(house: House) -> None:
    first, later = turns()
    house.start.begin(first, install_meanwhile=later)
    house.faults["n8n"] = ServiceFailed("n8n does not start", "see its log")
    with pytest.raises(ServiceFailed):
        house.start.go_on(later)
    assert [done for done in house.done if done.startswith("undo")] == ["undo n8n"]


def test_a_node_that_waits_for_another_still_starts_its_n8n(house: House) -> None:
    first, later = turns()
    house.faults["chat-api"] = NotReady("chat-api waits for models", "start them")
    house.start.begin(first, install_meanwhile=later)
    house.start.go_on(later)
    assert house.done[-1] == "start n8n"
    assert house.start.late is house.faults["chat-api"]


def test_whoever_interrupts_stops_all_that_was_started(house: House) -> None:
    first, later = turns()
    house.start.begin(first, install_meanwhile=later)
    house.faults["n8n-runner"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        house.start.go_on(later)
    assert [done for done in house.done if done.startswith("undo")] == ["undo n8n", "undo"]
