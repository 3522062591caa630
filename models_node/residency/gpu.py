"""GPU memory of processes, asked from NVML where `nvidia-ml-py` is installed and a driver answers."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType

log = logging.getLogger("models_node.residency")


class GpuMemory:
    """One NVML session. library: the `pynvml` module, initialised."""

    def __init__(self, library: ModuleType) -> None:
        self._nvml = library

    def used_bytes(self, pids: Iterable[int]) -> int:
        """What these processes hold on all GPUs together; 0 when none is seen there. Blocks for some milliseconds.

        Where the driver does not tell it for each process (in some containers), the processes count nothing.
        """
        wanted = set(pids)
        total = 0
        for index in range(self._nvml.nvmlDeviceGetCount()):
            device = self._nvml.nvmlDeviceGetHandleByIndex(index)
            for process in self._nvml.nvmlDeviceGetComputeRunningProcesses(device):
                if process.pid in wanted:
                    total += process.usedGpuMemory or 0
        return total


def gpu_memory() -> GpuMemory | None:
    """The machine's NVML, or None when there is no library, no driver or no device."""
    try:
        library = import_module("pynvml")
        library.nvmlInit()
    except Exception as error:  # ImportError, or NVMLError, whose class is only known with the library
        log.debug("no GPU memory is measured: %s", error)
        return None
    return GpuMemory(library)
