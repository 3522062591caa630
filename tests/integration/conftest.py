"""Real services for the tests of node `services`, started once a session, when the first test wants them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.authorities import read_once

read_once()
sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Installation]:  # noqa: F821
    """An installation whose Postgres runs and is prepared."""
    from installation import Installation

    made = Installation(
        extra={
            "CAPIBARA6_PREFECT_PROBE_SECONDS": "0.5",
            "CAPIBARA6_CHAT_KEEP_ALIVE_SECONDS": "1",
            "CAPIBARA6_CHAT_TOOLS_SELECT_SECONDS": "10",  # tests that expect tools do not fail on a busy machine
        }
    )
    try:
        made.start_postgres()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def stack(postgres: Installation) -> Installation:  # noqa: F821
    """The same with Prefect, a fake model server, fake sandboxes, a fake TTS server and the chat API."""
    postgres.start("prefect-server")
    postgres.start("model-server")
    postgres.start("sandbox-gateway")
    postgres.start("tts-server")
    postgres.start_chat()
    postgres.wait_for_prefect()
    postgres.wait_for_flows()
    return postgres
