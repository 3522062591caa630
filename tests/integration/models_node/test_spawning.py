"""Threads of a forked engine: as many, and on the CPUs, as libgomp would have made of the same variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models_node.residency.nursery.environment import torch_openmp

ROOT = Path(__file__).resolve().parents[3]
# With "late": the variables come after libgomp was loaded, as in a fork.
LOOK = """
import json, os, sys
import psutil
wanted = {"OMP_NUM_THREADS": sys.argv[2], "GOMP_CPU_AFFINITY": sys.argv[3]}
from models_node.residency.nursery import spawning
import torch
if sys.argv[1] == "late":
    spawning.set_threads(wanted)
def worked():
    return {each.id: each.user_time + each.system_time for each in psutil.Process().threads()}
numbers = torch.zeros(2**24)
numbers.add_(1)
before = worked()
while sum(worked().values()) - sum(before.values()) < 0.5:
    numbers.add_(1)
busy = [thread for thread, spent in worked().items() if spent - before.get(thread, 0) > 0.05]
print(json.dumps({"size": torch.get_num_threads(), "cpus": [sorted(os.sched_getaffinity(each)) for each in busy]}))
"""


def look(when: str, number: int, cpus: list[int]) -> dict[str, object]:
    asked = {"OMP_NUM_THREADS": str(number), "GOMP_CPU_AFFINITY": " ".join(map(str, cpus))}
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    environment |= {"LD_PRELOAD": str(torch_openmp()[0]), "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if when == "early":
        environment |= asked
    told = subprocess.run(
        [sys.executable, "-c", LOOK, when, *asked.values()], env=environment, text=True, capture_output=True, check=True
    )
    return json.loads(told.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("number", [1, 2])
def test_working_threads_set_up_late_are_those_of_an_early_start(number: int) -> None:
    """torch keeps a second, idle pool, whose threads were once bound in the place of OpenMP's."""
    cpus = sorted(os.sched_getaffinity(0))[:number]
    with ThreadPoolExecutor(2) as aside:  # most of it is torch's import
        late, early = aside.map(look, ("late", "early"), [len(cpus)] * 2, [cpus] * 2)
    assert late == early
    assert late == {"size": len(cpus), "cpus": [[cpu] for cpu in cpus]}
