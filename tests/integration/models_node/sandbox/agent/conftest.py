"""One agent for all tests here, one with tight limits, and the real SDK against the first."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from e2b_code_interpreter import AsyncSandbox, Sandbox

sys.path.insert(0, str(Path(__file__).resolve().parent))

from running_agent import ControlPlane, RunningAgent


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    running = RunningAgent(tmp_path_factory.mktemp("home"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def tight(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningAgent]:
    """Limits: 200 kB of output, 2 s for an execution, 1 MiB for an upload, 1 s for a stall."""
    limits = ("--output-bytes", "200000", "--execution-seconds", "2", "--upload-bytes", "1048576")
    running = RunningAgent(tmp_path_factory.mktemp("home"), *limits, "--stall-seconds", "1")
    yield running
    running.close()


@pytest.fixture(scope="session")
def control() -> Iterator[ControlPlane]:
    running = ControlPlane()
    yield running
    running.close()


@pytest.fixture
def _environment(agent: RunningAgent, control: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2B_API_KEY", "e2b_key")
    monkeypatch.setenv("E2B_API_URL", control.url)
    monkeypatch.setenv("E2B_SANDBOX_URL", agent.url)
    monkeypatch.setenv("E2B_HTTP_VERSION", "1.1")


@pytest.fixture
def sandbox(_environment: None) -> Sandbox:
    return Sandbox.create()


@pytest.fixture
async def async_sandbox(_environment: None) -> AsyncIterator[AsyncSandbox]:
    yield await AsyncSandbox.create()
