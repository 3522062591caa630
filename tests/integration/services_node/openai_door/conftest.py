"""OpenAI's SDK as a client of the chat API, and the tool servers beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from installation import Installation, eventually
from openai import OpenAI

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def client(stack: Installation) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{stack.url('chat-api')}/v1", api_key="none", max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
def api(stack: Installation) -> httpx.Client:
    return httpx.Client(base_url=stack.url("chat-api"), timeout=30)


@pytest.fixture(scope="module")
def tools(stack: Installation) -> Iterator[None]:
    """The MCP server and the smart one beside it."""
    services = ("mcp-server", "smart-mcp")
    for service in services:
        stack.start(service)
    try:
        for service in services:
            ready = f"{stack.url(service)}/health/ready"
            eventually(lambda ready=ready: httpx.get(ready).status_code == 200, 60, f"{service} is ready")
        yield
    finally:
        for service in reversed(services):
            stack.stop(service)
