"""The nursery's variables, and which of an engine's may differ from them.

A variable that a library reads while it is loaded or imported has, in a forked engine, the value it had in the nursery.
So the nursery gets the values that vLLM would set for its worker, and an engine that wants another is started plainly.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

MARK_CHARS = 32  # the place for an engine's mark, in the variables that /proc shows
# Without this a process's title is written over the place of its mark.
KEEPS_MARKS = {"SPT_NOENV": "1"}
# vLLM sets these before it starts a worker, or they are its worker's needs (vllm/platforms/cpu.py).
AS_A_WORKERS = {
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "TORCHINDUCTOR_CPP_DYNAMIC_THREADS": "1",
    # numpy's BLAS starts its threads when it is loaded, and the nursery must have one thread only.
    "OPENBLAS_NUM_THREADS": "1",
}
# Read when an engine starts, not when something is imported.
READ_LATE = frozenset(
    {
        "OMP_NUM_THREADS",
        "TMPDIR",
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_CPU_NUM_OF_RESERVED_CPU",
        "VLLM_CPU_OMP_THREADS_BIND",
        "VLLM_RPC_BASE_PATH",
    }
)


def nursery_environment(common: Mapping[str, str], mark: str) -> dict[str, str]:
    """The nursery's variables. common: what all engines have; mark: the variable that will tell engines apart."""
    preload = [common["LD_PRELOAD"]] if common.get("LD_PRELOAD") else []
    if not any("libgomp" in name or "libiomp" in name or "libomp" in name for name in preload):
        # As vLLM does for its worker: one OpenMP runtime for torch and vLLM's kernels, or thread binding goes wrong.
        preload += map(str, torch_openmp()[:1])
    made = {**AS_A_WORKERS, **common, **KEEPS_MARKS}
    made.pop("OMP_NUM_THREADS", None)  # it would be too late for an engine that wants more
    if preload:
        made["LD_PRELOAD"] = ":".join(preload)
    made.pop(mark, None)
    return made | {mark: "." * MARK_CHARS}


def torch_openmp() -> list[Path]:
    """PyTorch's own libgomp, found without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return []
    package = Path(spec.origin).parent
    folders = (package.parent / "torch.libs", package / "lib")
    return [path for folder in folders for path in sorted(folder.glob("libgomp*.so*"))]


def needs_plain_start(wanted: Mapping[str, str], nursery: Mapping[str, str], mark: str) -> list[str]:
    """The variables whose values an engine would have from the nursery although it wants others."""
    differ = {name for name, value in wanted.items() if nursery.get(name) != value}
    missing = {name for name in nursery if name not in wanted} - {*AS_A_WORKERS, *KEEPS_MARKS}
    return sorted((differ | missing) - READ_LATE - {mark, "LD_PRELOAD"} | preload_differs(wanted, nursery))


def preload_differs(wanted: Mapping[str, str], nursery: Mapping[str, str]) -> set[str]:
    """LD_PRELOAD, when the engine wants a library that is not loaded in the nursery."""
    loaded = nursery.get("LD_PRELOAD", "").split(":")
    asked = [name for name in wanted.get("LD_PRELOAD", "").split(":") if name]
    return set() if set(asked) <= set(loaded) else {"LD_PRELOAD"}
