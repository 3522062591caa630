"""A chat API, and somebody who is told of its runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from installation import Installation

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture
def api(stack: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url("chat-api"), timeout=30) as client:
        yield client
        for hook in client.get("/api/hooks").json()["hooks"]:
            client.delete(f"/api/hooks/{hook['id']}")


@pytest.fixture
def receiver(stack: Installation, api: httpx.Client) -> Iterator[Receiver]:  # noqa: F821
    """Up. What is signed with the owner's secret verifies; hooks' secrets are added by the tests."""
    from receiver import Receiver

    made = Receiver(stack.port("receiver"), secrets={api.get("/api/hooks/secret").json()["secret"]}).up()
    yield made
    made.down()
