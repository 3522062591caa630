"""GPU memory, asked from a stand-in for NVML (there is no GPU here)."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from models_node.residency.gpu import gpu_memory


def nvml(devices: list[list[tuple[int, int | None]]], *, broken: bool = False) -> ModuleType:
    module = ModuleType("pynvml")

    def init() -> None:
        if broken:
            raise RuntimeError("Driver Not Loaded")

    module.nvmlInit = init  # type: ignore[attr-defined]
    module.nvmlDeviceGetCount = lambda: len(devices)  # type: ignore[attr-defined]
    module.nvmlDeviceGetHandleByIndex = lambda index: devices[index]  # type: ignore[attr-defined]
    module.nvmlDeviceGetComputeRunningProcesses = lambda device: [  # type: ignore[attr-defined]
        SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in device
    ]
    return module


def test_an_engines_memory_is_summed_over_its_processes_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml([[(1, 100), (9, 7)], [(2, 50), (1, 1)]]))
    gpus = gpu_memory()
    assert gpus is not None
    assert gpus.used_bytes([1, 2, 3]) == 151
    assert gpus.used_bytes([4]) == 0


def test_a_driver_that_does_not_tell_counts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml([[(1, None)]]))
    gpus = gpu_memory()
    assert gpus is not None and gpus.used_bytes([1]) == 0


def test_without_a_library_or_a_driver_there_is_no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml([], broken=True))
    assert gpu_memory() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_memory() is None
