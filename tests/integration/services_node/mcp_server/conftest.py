"""An MCP server as a process of its own, on free ports, serving what the tests' registries hold."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mcp_process import McpProcess

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def suite_server() -> Iterator[McpProcess]:
    """With the conformance suite's fixtures."""
    with McpProcess(HERE / "suite_server.py") as process:
        yield process


@pytest.fixture(scope="module")
def trying() -> Iterator[McpProcess]:
    """With tools that misbehave (`trying_server`), and small limits."""
    extra = {
        "CAPIBARA6_MCP_CONCURRENT_CALLS": "4",
        "CAPIBARA6_MCP_SESSIONS": "20",
        "CAPIBARA6_MCP_RESULT_CHARS": "2000",
        "CAPIBARA6_MCP_RESULT_BINARY_BYTES": "1000",
        "CAPIBARA6_MCP_CLEANUP_SECONDS": "0.5",
        "CAPIBARA6_MAX_BODY_BYTES": "100000",
        "CAPIBARA6_ALLOWED_ORIGINS": "https://n8n.example.org",
    }
    with McpProcess(HERE / "trying_server.py", extra) as process:
        yield process


@pytest.fixture
def another() -> Iterator[Callable[..., McpProcess]]:
    """Starts further servers, and ends them."""
    started: list[McpProcess] = []

    def start(
        extra: dict[str, str] | None = None, script: str = "trying_server.py", port: int | None = None
    ) -> McpProcess:
        process = McpProcess(HERE / script, extra, port)
        started.append(process)
        return process.start()

    yield start
    for process in started:
        process.close()
