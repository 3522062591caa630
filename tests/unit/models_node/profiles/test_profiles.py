"""Hardware profiles: one for each machine, found or named."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_node.profiles import choose, detected, preloaded, profiles
from stack.errors import ConfigurationError
from stack.settings import Settings


def test_there_is_one_for_arm_one_for_x86_and_one_for_gpus() -> None:
    assert set(profiles()) == {"arm-axion", "x86-cpu", "cuda"}


def test_the_machine_decides() -> None:
    assert detected("aarch64", gpu=False) == "arm-axion"
    assert detected("x86_64", gpu=False) == "x86-cpu"
    assert detected("x86_64", gpu=True) == detected("aarch64", gpu=True) == "cuda"


def test_the_setting_goes_first(tmp_path: Path) -> None:
    assert choose(Settings(home=tmp_path, hardware_profile="cuda")).name == "cuda"
    with pytest.raises(ConfigurationError, match="abacus"):
        choose(Settings(home=tmp_path, hardware_profile="abacus"))


def test_cpus_bind_threads_and_fork_and_gpus_sleep() -> None:
    known = profiles()
    for name in ("arm-axion", "x86-cpu"):
        assert known[name].fork and known[name].environment["VLLM_CPU_OMP_THREADS_BIND"] == "auto"
    assert not known["cuda"].fork
    assert "--enable-sleep-mode" in known["cuda"].arguments
    assert known["cuda"].environment["VLLM_SERVER_DEV_MODE"] == "1"
    assert known["arm-axion"].arguments == ("--dtype", "bfloat16")


def test_the_first_library_that_is_there_is_preloaded(tmp_path: Path) -> None:
    assert preloaded(["libtcmalloc_minimal.so.4"], [tmp_path]) is None
    (tmp_path / "libb.so").touch()
    assert preloaded(["liba.so", "libb.so"], [tmp_path]) == tmp_path / "libb.so"
    (tmp_path / "liba.so").touch()
    assert preloaded(["liba.so", "libb.so"], [tmp_path]) == tmp_path / "liba.so"
