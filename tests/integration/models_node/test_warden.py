"""The warden over real processes: whatever ends first, nothing is left, and the scratch folder goes with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from models_node.residency.engine import WARDEN, end_marked
from stack.processes import marked

MARK = "CAPIBARA6_TEST_WARDEN"
LIMIT_SECONDS = 15.0
# A tree as vLLM's: a child in the engine's group, one in a session of its own, and a deaf grandchild.
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
TREE = f"""
import subprocess, sys, time, pathlib
subprocess.Popen([sys.executable, "-c", {DEAF!r}])
subprocess.Popen([sys.executable, "-c", {DEAF!r}], start_new_session=True)
{{extra}}
pathlib.Path("up").write_text("")
time.sleep(600)
"""
MODEL_SERVER = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "-I", "-S", sys.argv[1], str(os.getpid()), *sys.argv[2:]], start_new_session=True)
time.sleep(600)
"""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    value = uuid.uuid4().hex
    monkeypatch.setenv(MARK, value)
    yield value
    for process in marked(**{MARK: value}):
        with contextlib.suppress(psutil.NoSuchProcess):  # it was on its way out
            process.kill()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def arguments(scratch: Path, grace: float, *, extra: str = "", code: str = TREE) -> list[str]:
    return [str(grace), str(scratch), sys.executable, "-c", code.format(extra=extra)]


def start(scratch: Path, grace: float = 1, **how: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", str(WARDEN), str(os.getpid()), *arguments(scratch, grace, **how)]
    return subprocess.Popen(command, cwd=scratch, start_new_session=True)


def engine_pid(scratch: Path) -> int:
    until((scratch / "up").exists)
    return int((scratch / "pid").read_text())


def nothing_is_left(mark: str, scratch: Path) -> None:
    until(lambda: not marked(**{MARK: mark}))
    assert not scratch.exists()


def test_the_engines_death_ends_its_whole_tree(mark: str, scratch: Path) -> None:
    warden = start(scratch)
    os.kill(engine_pid(scratch), signal.SIGKILL)
    assert warden.wait(LIMIT_SECONDS) == 128 + signal.SIGKILL
    nothing_is_left(mark, scratch)


def test_the_engines_exit_status_is_handed_on(mark: str, scratch: Path) -> None:
    assert start(scratch, code="import sys; sys.exit(7)").wait(LIMIT_SECONDS) == 7
    nothing_is_left(mark, scratch)


def test_being_told_to_stop_asks_the_engine_first(mark: str, scratch: Path) -> None:
    said = scratch.parent / "asked"
    extra = f"import signal; signal.signal(15, lambda *_: (open({str(said)!r}, 'w').close(), sys.exit(0)))"
    warden = start(scratch, grace=60, extra=extra)
    engine_pid(scratch)
    warden.terminate()
    assert warden.wait(LIMIT_SECONDS) == 0
    assert said.exists()
    nothing_is_left(mark, scratch)


def test_an_engine_that_does_not_listen_is_killed_after_the_grace_time(mark: str, scratch: Path) -> None:
    warden = start(scratch, grace=0.3, extra="import signal; signal.signal(15, signal.SIG_IGN)")
    engine_pid(scratch)
    warden.terminate()
    assert warden.wait(LIMIT_SECONDS) == 128 + signal.SIGKILL
    nothing_is_left(mark, scratch)


def test_sigint_kills_at_once(mark: str, scratch: Path) -> None:
    warden = start(scratch, grace=600, extra="import signal; signal.signal(15, signal.SIG_IGN)")
    engine_pid(scratch)
    warden.send_signal(signal.SIGINT)
    warden.wait(LIMIT_SECONDS)
    nothing_is_left(mark, scratch)


def test_a_killed_model_server_takes_its_engines_with_it(mark: str, scratch: Path) -> None:
    command = [sys.executable, "-c", MODEL_SERVER, str(WARDEN), *arguments(scratch, 600)]
    server = subprocess.Popen(command, cwd=scratch)
    engine = psutil.Process(engine_pid(scratch))
    server.kill()
    server.wait()
    engine.wait(LIMIT_SECONDS)
    nothing_is_left(mark, scratch)


SHARING = """
from multiprocessing import shared_memory
import pathlib, time
pathlib.Path("shared").write_text(shared_memory.SharedMemory(create=True, size=4096).name)
{extra}
pathlib.Path("up").write_text("")
time.sleep(600)
"""


def test_a_killed_warden_s_tree_is_ended_by_its_mark_and_its_shared_memory_unlinked(mark: str, scratch: Path) -> None:
    """Killing the resource tracker with the rest once left hundreds of megabytes in /dev/shm."""
    warden = start(scratch, code=SHARING)
    engine_pid(scratch)
    shared = Path("/dev/shm") / (scratch / "shared").read_text()
    assert shared.exists()
    warden.kill()
    warden.wait()
    assert end_marked(MARK, mark)
    assert not marked(**{MARK: mark})
    assert not shared.exists()


def test_a_killed_engines_shared_memory_is_unlinked(mark: str, scratch: Path) -> None:
    warden = start(scratch, code=SHARING)
    engine = engine_pid(scratch)
    shared = Path("/dev/shm") / (scratch / "shared").read_text()
    os.kill(engine, signal.SIGKILL)
    warden.wait(LIMIT_SECONDS)
    nothing_is_left(mark, scratch)
    assert not shared.exists()
