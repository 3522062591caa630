"""smart-mcp as a process, and beside it the MCP server's own code over tools of these tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:  # noqa: F821
    """Both, the MCP server started second: smart-mcp waits for nobody."""
    from smart_pair import Pair

    made = Pair()
    try:
        made.start_smart()
        made.start_server()
        made.wait_for_tools()
        yield made
    finally:
        made.close()
