"""The launcher before any engine: which way they start, and what it clears away."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_node.catalogue import parse_catalogue
from models_node.errors import EngineFailed
from models_node.profiles import Profile, profiles
from models_node.residency.engine import TESTED_VLLM, VllmLauncher, no_fork, sleeps
from stack.errors import ConfigurationError
from stack.paths import run_directory
from stack.settings import Settings

CATALOGUE = parse_catalogue(
    """
default = "a"
[limits]
memory_budget = "4 GiB"
[[models]]
id = "a"
domain = "general"
description = ""
context_length = 1
weights = "w"
memory_estimate = 1
""",
    "test",
)
TESTED = min(TESTED_VLLM)
CPU = Profile(name="x86-cpu", fork=True)


@pytest.mark.parametrize("below", ["h", "deep/" * 30])
def test_preparing_clears_what_engines_left_and_nothing_else_of_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    settings = Settings(home=tmp_path / below, engine_start="spawn")
    run = run_directory(settings)
    (run / "supervisor").touch()
    (run / "engines" / "1").mkdir(parents=True)
    launcher = VllmLauncher(settings, CATALOGUE)
    assert launcher.prepare() == []
    assert (run / "supervisor").exists() and list((run / "engines").iterdir()) == []
    assert launcher.shared_bytes() == 0
    launcher.close()
    assert (run / "supervisor").exists() and not (run / "engines").exists()


async def test_missing_weights_are_told_before_anything_starts(tmp_path: Path) -> None:
    launcher = VllmLauncher(Settings(home=tmp_path, engine_start="spawn"), CATALOGUE)
    with pytest.raises(EngineFailed, match="no weights"):
        await launcher.launch(CATALOGUE.models[0])


def test_engines_are_forked_with_a_tested_vllm_only_unless_told_to() -> None:
    assert no_fork("auto", CPU, TESTED) == ""
    assert "9.9.9" in no_fork("auto", CPU, "9.9.9")
    assert no_fork("fork", CPU, "9.9.9") == ""
    assert "(none)" in no_fork("auto", CPU, "")


def test_engines_are_not_forked_on_cuda_or_when_told_not_to() -> None:
    assert "cuda" in no_fork("fork", profiles()["cuda"], TESTED)
    assert "spawn" in no_fork("spawn", CPU, TESTED)


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CAPIBARA6_HARDWARE_PROFILE"):
        VllmLauncher(Settings(home=tmp_path, hardware_profile="abacus"), CATALOGUE)


def test_the_last_word_on_sleep_mode_counts() -> None:
    assert sleeps(["--enable-sleep-mode"])
    assert not sleeps(["--enable-sleep-mode", "--no-enable-sleep-mode"])
    assert not sleeps([])
