"""Checks and tests of our own nodes, by the tools that n8n wants a published package to pass.

    python -m n8n.development install FOLDER    npm's work, from the package's lock
    python -m n8n.development check FOLDER      lint, types, build
    python -m n8n.development test FOLDER       unit tests

FOLDER holds the tools (700 MB), and a copy of the package's sources that each command makes anew: nothing is written
into the repository.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from n8n.installation import CI, PACKAGE
from n8n.node import NPM, programs

BIN = ".capibara6-bin"
STEPS = {
    "install": ((*NPM, *(word for word in CI if word != "--omit=optional")),),  # esbuild and others are optional ones
    "check": ((*NPM, "run", "lint"), (*NPM, "run", "typecheck"), (*NPM, "run", "build")),
    "test": ((*NPM, "test"),),
}


def main() -> int:
    """The first step's exit status that is not 0."""
    if len(sys.argv) != 3 or sys.argv[1] not in STEPS:
        sys.stderr.write(f"usage: python -m n8n.development {'|'.join(STEPS)} FOLDER\n")
        return 2
    folder = Path(sys.argv[2])
    copy_sources(folder)
    environment = os.environ | {
        "PATH": f"{programs(folder / BIN)}{os.pathsep}{os.environ.get('PATH', '')}",
        "npm_config_update_notifier": "false",
        "CI": "true",
    }
    for command in STEPS[sys.argv[1]]:
        status = subprocess.run(command, cwd=folder, env=environment, check=False, stdin=subprocess.DEVNULL).returncode
        if status != 0:
            return status
    return 0


def copy_sources(folder: Path) -> None:
    """The package as it is written now, beside the tools."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if old.name != "node_modules" and not old.name.startswith(".capibara6"):
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copytree(
        PACKAGE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "dist"), symlinks=True
    )


if __name__ == "__main__":
    sys.exit(main())
