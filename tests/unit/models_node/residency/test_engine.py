"""How an engine is called: its command line, its surroundings, its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_node.catalogue import parse_catalogue
from models_node.residency.engine import VllmLauncher, engine_command, engine_environment, last_error
from stack.paths import run_directory
from stack.settings import Settings

CATALOGUE = parse_catalogue(
    """
default = "a"
[limits]
memory_budget = "4 GiB"
[engine]
arguments = ["--dtype", "float32"]
environment = { OMP_NUM_THREADS = "1", SHARED = "all" }
[[models]]
id = "a"
domain = "general"
description = ""
context_length = 1
weights = "w"
memory_estimate = 1
engine_arguments = ["--max-model-len", "64"]
environment = { SHARED = "own" }
[[models]]
id = "far"
domain = "general"
description = ""
context_length = 1
remote_url = "https://far"
remote_key_env = "FAR_KEY"
""",
    "test",
)
ENTRY = CATALOGUE.models[0]
HOME = Path("/home/x/var")


def test_an_engine_serves_its_id_on_its_socket_with_common_then_own_arguments() -> None:
    command = engine_command(ENTRY, CATALOGUE, HOME, Path("/run/1/http"))
    assert command[command.index("--model") :] == [
        "--model", "/home/x/var/weights/w", "--served-model-name", "a", "--uds", "/run/1/http",
        "--disable-uvicorn-access-log", "--dtype", "float32", "--max-model-len", "64",
    ]  # fmt: skip


def test_it_is_offline_silent_and_sees_no_secret_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPIBARA6_SECRET_OPERATOR_KEY", "k3y-of-ours")
    monkeypatch.setenv("CAPIBARA6_DATABASE_URL", "postgres://k3y-of-ours")
    monkeypatch.setenv("FAR_KEY", "k3y-of-ours")
    monkeypatch.setenv("CAPIBARA6_STACK_ID", "abc")
    monkeypatch.setenv("VLLM_USE_SOMETHING", "1")
    environment = engine_environment(ENTRY, CATALOGUE, HOME, Path("/run/1"))
    assert not any("k3y-of-ours" in value for value in environment.values())
    assert environment["CAPIBARA6_STACK_ID"] == "abc"
    assert (environment["HF_HUB_OFFLINE"], environment["VLLM_NO_USAGE_STATS"], environment["DO_NOT_TRACK"]) == (
        "1",
    ) * 3
    assert (environment["OMP_NUM_THREADS"], environment["SHARED"]) == ("1", "own")
    assert "VLLM_USE_SOMETHING" not in environment
    assert environment["TMPDIR"] == "/run/1"


@pytest.mark.parametrize("below", ["h", "deep/" * 30])
def test_preparing_clears_what_engines_left_and_nothing_else_of_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings = Settings(home=tmp_path / below)
    run = run_directory(settings)
    (run / "supervisor").touch()
    (run / "engines" / "1").mkdir(parents=True)
    launcher = VllmLauncher(settings, CATALOGUE)
    assert launcher.prepare() == []
    assert (run / "supervisor").exists() and list((run / "engines").iterdir()) == []
    launcher.close()
    assert (run / "supervisor").exists() and not (run / "engines").exists()


def test_the_last_error_of_a_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert last_error(log) == ""
    log.write_text("fine\nTraceback\nValueError: too long\nbye\n")
    assert last_error(log) == "ValueError: too long"
