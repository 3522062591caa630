"""`models plan` as a person runs it: its words, its exit statuses, no process and no network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models_node import commands
from models_node.__main__ import main as module
from models_node.commands import main

GOOD = """
default = "a"
limits = { memory_budget = "4 GiB" }
[[models]]
id = "a"
domain = "general"
description = "A"
context_length = 2048
weights = "a"
memory_estimate = "2.5 GiB"
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CAPIBARA6_PROFILE", "CAPIBARA6_CATALOGUE", "CAPIBARA6_MODELS_MEMORY_BUDGET_BYTES"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("CAPIBARA6_HOME", str(tmp_path))
    monkeypatch.setenv("CAPIBARA6_HARDWARE_PROFILE", "x86-cpu")
    return tmp_path


@pytest.fixture
def catalogue(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    return str(path)


def test_the_local_catalogue_plans_two_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert module(["models", "plan", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["catalogue"] == "catalog.local.toml"
    assert {len(fitting["models"]) for fitting in told["sets"]} == {2}


def test_less_memory_makes_it_never_fit_and_the_status_says_so(
    catalogue: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--catalogue", catalogue]) == 0
    assert "All fit at once: 2.50 GiB, 1.50 GiB are left." in capsys.readouterr().out
    assert main(["plan", "--catalogue", catalogue, "--memory", "2GiB"]) == 1
    assert "can never be loaded: model 'a' needs 2.5 GiB, this node has 2.0 GiB" in capsys.readouterr().out


def test_the_nodes_own_budget_goes_before_the_catalogues(
    catalogue: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPIBARA6_MODELS_MEMORY_BUDGET_BYTES", str(3 * 2**30))
    assert main(["plan", "--catalogue", catalogue]) == 0
    assert capsys.readouterr().out.startswith("3.00 GiB for engines · mine.toml · profile x86-cpu\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plan", "--memory", "much"], "--memory: 'much' is not a size"),
        (["plan", "--memory", "0"], "--memory: 0 is nothing"),
        (["plan", "--catalogue", "/none.toml"], "/none.toml: cannot be read"),
        (["fetch", "moon"], "no model is called 'moon'"),
        (["fetch"], "no model of this catalogue names a `source`"),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"capibara6: {said}")
    assert told.count("\n") == 2
    assert "  mend: " in told


def test_a_word_nobody_knows_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert module(["moon"]) == 2
    assert "'moon' is not one of: models" in capsys.readouterr().err


def test_measured_values_come_from_the_running_server(
    catalogue: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Running:
        def __init__(self, url: str, *, key: str | None, read_seconds: float) -> None:
            assert url.startswith("http://127.0.0.1:")

        async def get_json(self, path: str) -> object:
            assert path == "/stats"
            models = [{"model": "a", "memory": {"measured_bytes": 3 * 2**30}}]
            return {"models": models, "memory": {"shared_bytes": 2**29}}

        async def close(self) -> None:
            pass

    monkeypatch.setattr(commands, "ModelServerClient", Running)
    assert main(["plan", "--catalogue", catalogue, "--measured"]) == 0
    told = capsys.readouterr().out
    assert "0.50 GiB of it shared by all engines" in told
    assert "2.50 GiB  3.00 GiB  3.15 GiB" in told


def test_measured_without_a_running_server_says_so(
    catalogue: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPIBARA6_PORT_OFFSET", "49000")
    assert main(["plan", "--catalogue", catalogue, "--measured"]) == 6
    assert "--measured: model-server at http://127.0.0.1:57082 cannot be reached" in capsys.readouterr().err
