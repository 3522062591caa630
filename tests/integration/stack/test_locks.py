"""Every lock has wheels for both architectures: production is Arm, most laptops are not. Asks the package index."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from stack.settings import REPOSITORY

LOCKS = sorted(path.stem for path in (REPOSITORY / "requirements").glob("*.lock"))
UV = Path(os.environ.get("CAPIBARA6_HOME") or REPOSITORY / "var") / "envs" / "stack" / "bin" / "uv"


@pytest.mark.parametrize("architecture", ["aarch64", "x86_64"])
@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_resolves_to_wheels_alone(lock: str, architecture: str, tmp_path: Path) -> None:
    # glibc 2.35 (Ubuntu 22.04, Debian 12) is the oldest that vLLM's dependencies have wheels for.
    platform = f"{architecture}-manylinux_2_35"
    done = subprocess.run(
        [
            str(UV), "pip", "install", "--no-config", "--dry-run", "--no-deps", "--no-build", "--require-hashes",
            "--python-platform", platform, "--python-version", "3.11", "--target", str(tmp_path),
            "-r", str(REPOSITORY / "requirements" / f"{lock}.lock"),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Would install" in done.stderr
