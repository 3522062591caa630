"""Installing where it can't be done: one clear line, an exit status above 0, nothing half-started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.stack import REPOSITORY, Stack

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can unplug a network, or mount a small disk")


def up(home: str, *prefix: str, seconds: float = 200) -> subprocess.CompletedProcess[str]:
    environment = Stack(REPOSITORY, 23_000, variables={"CAPIBARA6_HOME": home}).environment()
    command = [*prefix, "./capibara6", "up", "--detach"]
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )


def test_a_home_that_cannot_be_written() -> None:
    done = up("/proc/capibara6")
    assert done.returncode == 1
    assert "cannot write to /proc/capibara6" in done.stderr
    assert "CAPIBARA6_HOME" in done.stderr
    assert "Traceback" not in done.stderr


@as_root
def test_no_network(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = up(str(home), "unshare", "--net")
    assert done.returncode == 1
    assert "the package index cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


@as_root
def test_no_disk_space(tmp_path: Path) -> None:
    script = f'mount -t tmpfs -o size=64m none {tmp_path} && exec "$@"'
    done = up(str(tmp_path / "home"), "unshare", "--mount", "sh", "-c", script, "-")
    assert done.returncode == 1
    assert "no disk space" in done.stderr
    assert "Traceback" not in done.stderr
