"""Fresh install, start when installed, and memory at rest: `./capibara6 bench installation`.

A copy of the repository gets a home and package caches of its own, so that nothing is reused. Absolute figures, since
there is nothing to compare with; read them beside the machine they were taken on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from stack.processes import SERVICE, STACK_ID, marked, stack_id
from stack.settings import REPOSITORY, Settings


def timed(command: list[str], environment: dict[str, str]) -> float:
    began = time.monotonic()
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    return round(time.monotonic() - began, 1)


def disk_mib(folder: Path) -> int:
    done = subprocess.run(["du", "-sm", str(folder)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def memory_mib(home: Path) -> dict[str, int]:
    """Proportional set size of each service's processes, in MiB."""
    found: dict[str, int] = {}
    for process in marked(**{STACK_ID: stack_id(Settings(home=home))}):
        try:
            name = process.environ().get(SERVICE, "supervisor")
            found[name] = found.get(name, 0) + process.memory_full_info().pss
        except psutil.Error:
            continue
    return {name: size >> 20 for name, size in sorted(found.items())}


def measure(root: Path, port_offset: int) -> dict[str, Any]:
    home = root / "home"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CAPIBARA6_") and k != "PYTHONPATH"} | {
        "CAPIBARA6_HOME": str(home),
        "CAPIBARA6_PORT_OFFSET": str(port_offset),
        "UV_CACHE_DIR": str(root / "uv-cache"),
        "PIP_CACHE_DIR": str(root / "pip-cache"),
    }
    up, down = ["./capibara6", "up", "--detach"], ["./capibara6", "down"]
    try:
        fresh = timed(up, environment)
        rest = memory_mib(home)
        stop = timed(down, environment)
        installed = timed(up, environment)
        nothing_to_do = timed(up, environment)
        ask = ["./capibara6", "chat", "--max-tokens", "8", "Hello"]
        first_question = timed(ask, environment)
        loaded = memory_mib(home)
    finally:
        subprocess.run(down, cwd=REPOSITORY, env=environment, check=False, stdin=subprocess.DEVNULL)
        shutil.rmtree(Path("/var/lib/capibara6") / stack_id(Settings(home=home)), ignore_errors=True)
    return {
        "fresh_install_and_up_seconds": fresh,
        "up_when_installed_seconds": installed,
        "up_when_running_seconds": nothing_to_do,
        "first_question_from_cold_seconds": first_question,
        "down_seconds": stop,
        "fresh_over_installed": round(fresh / installed, 1),
        "disk_mib": {"home": disk_mib(home), **{p.name: disk_mib(p) for p in sorted((home / "envs").iterdir())}},
        "memory_at_rest_pss_mib": rest,
        "memory_with_one_model_pss_mib": loaded,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="./capibara6 bench installation", description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result there")
    parser.add_argument("--port-offset", type=int, default=24_000)
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="capibara6-bench-"))
    try:
        result = measure(root, given.port_offset)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    text = json.dumps(result)
    print(text)
    if given.json:
        given.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
