"""One installed, running stack for the whole tier, made from a copy of the repository by the launcher alone."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.processes import stack_id
from stack.settings import Settings
from tests.authorities import read_once
from tests.e2e.ordinary_user import OrdinaryUser, installing
from tests.e2e.stack import INSTALL_SECONDS, START_SECONDS, Stack, copy_repository, remove

read_once()
# Files in the order they come, others before them: of those whose tests leave the stack down the last ones.
ORDER = (
    "test_smoke.py",
    "test_assistant.py",
    "test_assistant_cancel.py",
    "test_speech.py",
    "test_code.py",
    "test_n8n.py",
    "test_n8n_nodes.py",
    "test_workflows.py",
    "test_other_users.py",
    "test_trouble.py",
    "test_stopping.py",
    "test_the_readme.py",
)


def interrupt_installation(stack: Stack) -> None:
    process = stack.popen("up", "--detach", stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    for line in process.stderr:
        if "environment models" in line:
            break
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert not (stack.home / "envs" / "models" / ".capibara6-complete").exists()


@pytest.fixture(scope="session", autouse=True)
def ordinary_user(request: pytest.FixtureRequest) -> Iterator[OrdinaryUser | None]:
    """Another user's own installation, begun with the first test of the tier, as it takes minutes to download; None
    where no test of this session asks for it, or only root could make the user.
    """
    wanted = any(item.path.name == "test_other_users.py" for item in request.session.items)
    if not wanted or os.getuid() != 0:
        yield None
        return
    with installing() as made:
        yield made


@pytest.fixture(scope="session")
def installed() -> Iterator[Stack]:
    """The copy, its environments made by a first `up`, which is left running. Its folder is closed to other users.

    That first `up` is interrupted in the middle of installing and run again: an interrupted install goes on.
    """
    root = Path(tempfile.mkdtemp(prefix="capibara6-e2e-"))  # mode 0700: as root, Postgres has to live elsewhere
    copy_repository(root)
    stack = Stack(root, port_offset=21_000)
    try:
        interrupt_installation(stack)
        stack.ok("up", "--detach", seconds=INSTALL_SECONDS)
        yield stack
    finally:
        stack.run("down", seconds=120)
        stack.leaves_nothing()
        remove(Path("/var/lib/capibara6") / stack_id(Settings(home=stack.home)), root)


@pytest.fixture
def stack(installed: Stack) -> Stack:
    """The stack, running and ready, whatever the test before did to it."""
    if not installed.answers() and set(installed.states().values()) != {"ready"}:
        installed.ok("up", "--detach", seconds=START_SECONDS)
    return installed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Installing and loading models take minutes on two cores; the steps inside have limits of their own.

    A start of the whole stack takes half a minute there, so tests that need it running come before those that end it.
    """
    ours = [item for item in items if item.path.is_relative_to(Path(__file__).parent)]
    for item in ours:
        item.add_marker(pytest.mark.timeout(1500))
    places = {name: place for place, name in enumerate(ORDER, 1)}
    others = [item for item in items if item not in ours]
    items[:] = others + sorted(ours, key=lambda item: places.get(item.path.name, 0))
