"""The stack with its tools: the MCP server's own code over more tools, and the smart one before it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


@pytest.fixture(scope="module")
def assistant(stack: Installation) -> Iterator[Assistant]:  # noqa: F821
    """The chat API with tools, while the tests of a module run; afterwards they are away again."""
    from assistant_stack import Assistant

    made = Assistant(stack)
    try:
        made.start()
        yield made
    finally:
        made.close()
