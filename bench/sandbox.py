"""Sandboxes against a bare Jupyter kernel: creation, execution, memory, and twenty at once.

    python -m bench.sandbox [--creations 20] [--executions 200] [--at-once 20] [--json FILE]

Starts a sandbox service of its own (as root), on ports and in a home of its own, and asks it with the unmodified E2B
SDK, as the flows do; a kernel of `jupyter_client`, without any isolation, is asked the same in the same run. Aims, as
medians on an idle machine: create from the warm pool 20 ms, `1+1` 15 ms, create and first `1+1` 100 ms, with the pool
empty 3 s, an idle warm sandbox 160 MB.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from e2b_code_interpreter import Sandbox  # type: ignore[import-untyped]
from jupyter_client.manager import KernelManager

from bench._streams import report
from stack.secrets import ensure_secrets
from stack.settings import REPOSITORY, read_settings

OFFSET = 23_000
USERS = 63_000
START_SECONDS = 120.0
WAIT_SECONDS = 30.0
KERNEL_STARTS = 3
SERVICE_PORT = 8086 + OFFSET
URL = f"http://127.0.0.1:{SERVICE_PORT}"
OPTIONS: dict[str, Any] = {"api_key": "local", "api_url": URL, "sandbox_url": URL, "timeout": 600}


def milliseconds(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return {"p50_ms": round(statistics.median(seconds) * 1000, 2), "p95_ms": round(p95 * 1000, 2), "n": len(seconds)}


def timed(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


@contextmanager
def service(pool_size: int, most: int) -> Iterator[Path]:
    """A sandbox service with nothing else beside it. Yields its home."""
    with tempfile.TemporaryDirectory(prefix="capibara6-bench-") as name:
        home = Path(name)
        (home / "envs").symlink_to(Path(sys.prefix).parent)
        ensure_secrets(read_settings(home))
        environment = {
            **os.environ, "CAPIBARA6_HOME": name, "CAPIBARA6_PORT_OFFSET": str(OFFSET), "PYTHONPATH": str(REPOSITORY),
            "CAPIBARA6_SANDBOX_POOL_SIZE": str(pool_size), "CAPIBARA6_SANDBOX_UIDS": str(USERS),
            "CAPIBARA6_SANDBOX_MAX_COUNT": str(most),
        }  # fmt: skip
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "models_node.sandbox"], env=environment, cwd=REPOSITORY, stdout=log, stderr=log
            )
            try:
                wait_until(lambda: answers("/health/ready"), START_SECONDS, lambda: (home / "log").read_text()[-2000:])
                wait_until(lambda: warm() >= pool_size, WAIT_SECONDS)
                yield home
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(WAIT_SECONDS)


def answers(path: str) -> bool:
    try:
        return httpx.get(URL + path, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def stats() -> dict[str, Any]:
    content: dict[str, Any] = httpx.get(f"{URL}/stats", trust_env=False).json()
    return content


def warm() -> int:
    return int(stats()["states"]["warm"])


def wait_until(holds: Callable[[], bool], seconds: float, explain: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {seconds} s: {explain()}")
        time.sleep(0.05)


def memory_of(users: range) -> dict[str, float]:
    """Proportional set size, in MB, of all processes of these users: what is shared counts by its share."""
    total = private = 0
    for process in psutil.process_iter():
        try:
            if process.uids().real in users:
                found = process.memory_full_info()
                total += found.pss
                private += found.uss
        except psutil.Error:
            continue
    return {"pss_mb": round(total / 1e6, 1), "private_mb": round(private / 1e6, 1)}


def from_the_pool(creations: int, executions: int) -> dict[str, Any]:
    created, first, again = [], [], []
    for _ in range(creations):
        wait_until(lambda: warm() >= 1, WAIT_SECONDS)
        began = time.perf_counter()
        sandbox = Sandbox.create(**OPTIONS)
        created.append(time.perf_counter() - began)
        sandbox.run_code("1+1")
        first.append(time.perf_counter() - began)
        sandbox.kill()
    sandbox = Sandbox.create(**OPTIONS)
    for _ in range(executions):
        again.append(timed(lambda: sandbox.run_code("1+1")))
    imports = timed(lambda: sandbox.run_code("import numpy, pandas, matplotlib.pyplot"))
    sandbox.kill()
    return {
        "create": milliseconds(created),
        "create_and_first_run_code": milliseconds(first),
        "run_code": milliseconds(again),
        "import_numpy_pandas_matplotlib_ms": round(imports * 1000, 2),
    }


def idle_memory(pool_size: int) -> dict[str, Any]:
    """Of the warm sandboxes that wait in the pool, each; and of what they all share."""
    wait_until(lambda: warm() >= pool_size, WAIT_SECONDS)
    sandboxes = memory_of(range(USERS + 2, USERS + 100))
    return {
        "warm_sandbox_each": {name: round(value / pool_size, 1) for name, value in sandboxes.items()},
        "template": memory_of(range(USERS + 1, USERS + 2)),
        "gateway": memory_of(range(USERS, USERS + 1)),
    }


def without_a_pool(creations: int) -> dict[str, Any]:
    created, first = [], []
    for _ in range(creations):
        began = time.perf_counter()
        sandbox = Sandbox.create(**OPTIONS)
        created.append(time.perf_counter() - began)
        sandbox.run_code("1+1")
        first.append(time.perf_counter() - began)
        sandbox.kill()
    return {"create": milliseconds(created), "create_and_first_run_code": milliseconds(first)}


def many_at_once(count: int) -> dict[str, Any]:
    """Creates so many at once, runs code in all of them at once, and measures what they take together."""
    with ThreadPoolExecutor(count) as pool:
        began = time.perf_counter()
        sandboxes = list(pool.map(lambda _: Sandbox.create(**OPTIONS), range(count)))
        created = time.perf_counter() - began
        code = "import numpy as np; float((np.ones((300, 300)) @ np.ones((300, 300))).sum())"
        took = timed(lambda: [answer.text for answer in pool.map(lambda s: s.run_code(code), sandboxes)])
        memory = memory_of(range(USERS, USERS + 100))
        list(pool.map(lambda s: s.kill(), sandboxes))
    return {
        "count": count,
        "all_created_ms": round(created * 1000, 1),
        "all_executed_ms": round(took * 1000, 1),
        "everything_together": memory,
    }


def bare_kernel(executions: int) -> dict[str, Any]:
    """A Jupyter kernel as anybody would start one: no sandbox, no network protocol but its own."""
    starts: list[float] = []
    for _ in range(KERNEL_STARTS - 1):
        with jupyter_kernel(starts):
            pass
    with jupyter_kernel(starts) as (execute, process):
        again = [timed(lambda: execute("1+1")) for _ in range(executions)]
        imports = timed(lambda: execute("import numpy, pandas, matplotlib.pyplot"))
        memory = process.memory_full_info().pss / 1e6
    return {
        "start_and_first_execution": milliseconds(starts),
        "execution": milliseconds(again),
        "import_numpy_pandas_matplotlib_ms": round(imports * 1000, 2),
        "pss_after_imports_mb": round(memory, 1),
    }


@contextmanager
def jupyter_kernel(starts: list[float]) -> Iterator[tuple[Callable[[str], object], psutil.Process]]:
    """Yields how to run code in it, and its process. starts: seconds to its first result are added."""
    manager = KernelManager(kernel_name="python3")
    began = time.perf_counter()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=WAIT_SECONDS)

    def execute(code: str) -> object:
        return client.execute_interactive(code, output_hook=lambda _: None, timeout=WAIT_SECONDS)

    execute("1+1")
    starts.append(time.perf_counter() - began)
    try:
        yield execute, psutil.Process(getattr(manager.provisioner, "pid", None))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--creations", type=int, default=20)
    parser.add_argument("--executions", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if os.getuid() != 0:
        sys.stderr.write("bench sandbox: only root can make the users and cgroups of sandboxes\n")
        return 1
    with service(2, given.at_once):
        ours = {**from_the_pool(given.creations, given.executions), "idle": idle_memory(2)}
    with service(0, given.at_once):
        ours["pool_empty"] = without_a_pool(given.creations)
        ours["at_once"] = many_at_once(given.at_once)
    kernel = bare_kernel(given.executions)
    warm_start = ours["create_and_first_run_code"]["p50_ms"]
    ratios = {
        "first_result_bare_kernel_over_warm_sandbox": round(
            kernel["start_and_first_execution"]["p50_ms"] / warm_start, 1
        ),
        "first_result_bare_kernel_over_cold_sandbox": round(
            kernel["start_and_first_execution"]["p50_ms"] / ours["pool_empty"]["create_and_first_run_code"]["p50_ms"], 1
        ),
        "execution_sandbox_over_bare_kernel": round(ours["run_code"]["p50_ms"] / kernel["execution"]["p50_ms"], 2),
        "memory_bare_kernel_over_warm_sandbox": round(
            kernel["pss_after_imports_mb"] / ours["idle"]["warm_sandbox_each"]["pss_mb"], 1
        ),
    }
    report({"benchmark": "sandbox", "sandbox": ours, "bare_kernel": kernel, "ratios": ratios}, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
