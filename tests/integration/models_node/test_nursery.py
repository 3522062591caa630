"""The nursery over real processes, with something small in vLLM's place: forks, marks, and every way to end.

Policy: the nursery's death leaves its engines alive below the keeper, and a new nursery is started; the keeper's or the
model server's death ends them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from models_node.catalogue import parse_catalogue
from models_node.residency.engine import VllmLauncher
from models_node.residency.nursery import link
from models_node.residency.nursery.link import Nursery, NurseryLimits, NurseryUnavailable, Request
from models_node.residency.process import ForkedWarden
from models_node.residency.remains import ENGINES_OF
from stack.paths import run_directory
from stack.processes import marked, stack_id
from stack.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
ALL = "CAPIBARA6_TEST_NURSERY"
ONE = "CAPIBARA6_ENGINE"
LIMIT_SECONDS = 20.0
LIMITS = NurseryLimits(start_timeout_seconds=15, memory_bytes=2**30)
# A tree as vLLM's, asked for by the engine's arguments: a child by multiprocessing's spawn, which tells what it sees.
ENGINE = """
import multiprocessing, os, pathlib, signal, sys, time

def child(where):
    pathlib.Path(where).write_text(f"{os.getpid()} {os.getppid()} {os.environ['OF_ITS_OWN']}")
    time.sleep(600)

def serve(arguments, listener, alive):
    os.setpgid(0, 0)
    spawning.install(listener.getsockname(), alive)
    listener.close()
    print("hello from", arguments[0], flush=True)
    if arguments[0] == "exits":
        raise SystemExit(7)
    if arguments[0] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ["OF_ITS_OWN"] = arguments[0]
    multiprocessing.get_context("spawn").Process(target=child, args=("child",), daemon=True).start()
    time.sleep(600)
"""
BOOT = f"""
import sys; sys.path[:0] = [{str(ROOT)!r}, {{where!r}}]
from models_node.residency.nursery import parent, spawning
spawning.set_threads = lambda environment: None
import a_small_engine; a_small_engine.spawning = spawning
parent.MODULES = (); parent.be_api_server = a_small_engine.serve
{{extra}}
sys.exit(parent.main(sys.argv[1:]))
"""


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def mark() -> Iterator[str]:
    value = uuid.uuid4().hex
    yield value
    for process in marked(**{ALL: value}):
        with contextlib.suppress(psutil.NoSuchProcess):  # it was on its way out
            process.kill()


class Making:
    """Makes nurseries of the small engine, and engines of them."""

    def __init__(self, where: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.where = where
        self.mark = mark
        self.monkeypatch = monkeypatch
        self.made: list[Nursery] = []
        (where / "a_small_engine.py").write_text(ENGINE)

    def nursery(self, extra: str = "", limits: NurseryLimits = LIMITS) -> Nursery:
        self.monkeypatch.setattr(link, "BOOT", BOOT.format(where=str(self.where), extra=extra))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CAPIBARA6_")}
        nursery = Nursery(environment | {ALL: self.mark}, ONE, self.where / "nursery.log", limits)
        self.made.append(nursery)
        nursery.start()
        return nursery

    def request(self, how: str) -> Request:
        scratch = self.where / uuid.uuid4().hex[:8]
        scratch.mkdir()
        variables = dict(os.environ) | {ALL: self.mark, ONE: uuid.uuid4().hex}
        return Request(scratch, [how], variables, grace_seconds=0.5)

    def engine(self, nursery: Nursery, how: str = "stays") -> tuple[ForkedWarden, Request]:
        request = self.request(how)
        with (self.where / "engine.log").open("wb") as output:
            warden = nursery.fork(request, output.fileno())
        if how != "exits":
            until(lambda: (request.scratch / "child").exists() and (request.scratch / "child").read_text())
        return warden, request


@pytest.fixture
def making(tmp_path: Path, mark: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Making]:
    made = Making(tmp_path, mark, monkeypatch)
    yield made
    for nursery in made.made:
        nursery.close()


def ended(warden: ForkedWarden) -> bool:
    return bool(select.select([warden.pidfd], [], [], 0)[0])  # also when nobody has buried it yet


def processes(request: Request) -> list[psutil.Process]:
    return marked(**{ONE: request.environment[ONE]})


def child_of(request: Request) -> list[str]:
    return (request.scratch / "child").read_text().split()


def test_an_engine_is_forked_found_by_its_mark_and_ended_to_the_last_process(making: Making) -> None:
    nursery = making.nursery()
    warden, request = making.engine(nursery)
    found = {process.pid for process in processes(request)}
    engine = int((request.scratch / "pid").read_text())
    assert {warden.pid, engine, int(child_of(request)[0])} <= found
    assert (making.where / "engine.log").read_text() == "hello from stays\n"
    warden.send(signal.SIGTERM)
    until(lambda: ended(warden))
    assert warden.status() == 128 + signal.SIGTERM
    assert not processes(request) and not request.scratch.exists()


def test_what_an_engine_starts_has_its_variables_and_hangs_below_its_warden(making: Making) -> None:
    warden, request = making.engine(making.nursery())
    pid, _, own = child_of(request)
    assert own == "stays"
    assert warden.pid in [parent.pid for parent in psutil.Process(int(pid)).parents()]
    assert os.getsid(int(pid)) == os.getsid(warden.pid) == warden.pid


def test_one_engines_end_leaves_the_others(making: Making) -> None:
    nursery = making.nursery()
    first, first_request = making.engine(nursery)
    second, second_request = making.engine(nursery)
    os.kill(int((first_request.scratch / "pid").read_text()), signal.SIGKILL)
    until(lambda: ended(first))
    assert first.status() == 128 + signal.SIGKILL
    assert not processes(first_request)
    assert not ended(second) and len(processes(second_request)) >= 4


def test_the_exit_status_is_handed_on(making: Making) -> None:
    warden, _ = making.engine(making.nursery(), "exits")
    until(lambda: ended(warden))
    assert warden.status() == 7


def test_a_deaf_engine_is_killed_after_its_grace_time(making: Making) -> None:
    warden, request = making.engine(making.nursery(), "deaf")
    warden.send(signal.SIGTERM)
    until(lambda: ended(warden))
    assert warden.status() == 128 + signal.SIGKILL
    assert not processes(request)


def test_being_told_to_end_in_the_first_instant_is_not_missed(making: Making) -> None:
    """A signal between the fork and the warden's first look at them was once lost."""
    nursery = making.nursery()
    for _ in range(10):
        warden, request = making.engine(nursery, "exits")
        warden.send(signal.SIGINT)
        until(lambda warden=warden: ended(warden))
        assert warden.status() in (7, 128 + signal.SIGKILL)
        assert not processes(request)


def test_a_killed_warden_says_nothing_and_its_engine_is_still_found_by_its_mark(making: Making) -> None:
    warden, request = making.engine(making.nursery())
    warden.send(signal.SIGKILL)
    until(lambda: ended(warden))
    assert warden.status() is None
    assert processes(request)


def test_engines_outlive_their_nursery_and_a_new_one_is_started(making: Making) -> None:
    nursery = making.nursery()
    warden, request = making.engine(nursery)
    first = nursery.pid
    shared = nursery.shared_bytes()
    assert first is not None and shared > 0
    os.kill(first, signal.SIGKILL)
    until(lambda: nursery.pid not in (None, first))
    assert not ended(warden) and processes(request)
    assert nursery.shared_bytes() > shared  # the old one's pages are still held by its engine, and charged
    other, _ = making.engine(nursery)
    for one in (warden, other):
        one.send(signal.SIGTERM)
        until(lambda one=one: ended(one))
    assert warden.status() == 128 + signal.SIGTERM
    until(lambda: nursery.shared_bytes() < 2 * shared)


def test_a_killed_keeper_takes_nursery_and_engines_with_it(making: Making, mark: str) -> None:
    nursery = making.nursery()
    warden, _ = making.engine(nursery)
    keeper = psutil.Process(warden.pid).parents()[1].pid
    old = {process.pid for process in marked(**{ALL: mark})}
    os.kill(keeper, signal.SIGKILL)
    until(lambda: ended(warden) and not old & {process.pid for process in marked(**{ALL: mark})})


def test_closing_ends_everything(making: Making, mark: str) -> None:
    nursery = making.nursery()
    warden, _ = making.engine(nursery)
    nursery.close()
    until(lambda: ended(warden) and not marked(**{ALL: mark}))
    with pytest.raises(NurseryUnavailable):
        nursery.fork(making.request("stays"), 1)


CATALOGUE = """
default = "m"
[limits]
memory_budget = "4 GiB"
[[models]]
id = "m"
domain = "general"
description = ""
context_length = 1
weights = "w"
memory_estimate = 1
"""


@pytest.fixture
def launcher(making: Making) -> Iterator[VllmLauncher]:
    """A launcher whose engines are the small one. Its nursery becomes ready when the file `go` is there."""
    (making.where / "weights" / "w").mkdir(parents=True)
    (making.where / "weights" / "w" / "config.json").touch()
    wait = f"import os, time\nwhile not os.path.exists({str(making.where / 'go')!r}): time.sleep(0.01)"
    making.monkeypatch.setattr(link, "BOOT", BOOT.format(where=str(making.where), extra=wait))
    made = VllmLauncher(Settings(home=making.where, engine_start="fork"), parse_catalogue(CATALOGUE, "test"))
    made.prepare()
    yield made
    made.close()


async def test_a_load_that_nobody_wants_any_more_stops_waiting_for_the_nursery(launcher: VllmLauncher) -> None:
    loading = asyncio.create_task(launcher.launch(parse_catalogue(CATALOGUE, "test").models[0]))
    await asyncio.wait({loading}, timeout=0.2)
    loading.cancel()
    done, _ = await asyncio.wait({loading}, timeout=LIMIT_SECONDS / 2)
    assert done and loading.cancelled()


async def test_one_that_is_given_up_while_it_is_forked_leaves_no_engine(launcher: VllmLauncher, making: Making) -> None:
    """The fork was on its way in another thread, and its engine would have belonged to nobody."""
    assert launcher.nursery is not None
    (making.where / "go").touch()
    await asyncio.to_thread(until, lambda: launcher.nursery and launcher.nursery.pid)
    stack = {ENGINES_OF: stack_id(Settings(home=making.where))}
    before = {process.pid for process in marked(**stack)}
    loading = asyncio.create_task(launcher.launch(parse_catalogue(CATALOGUE, "test").models[0]))
    engines = run_directory(Settings(home=making.where)) / "engines"
    while not list(engines.iterdir()):  # noqa: ASYNC110 - the very next step after the folder is wanted
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    loading.cancel()
    await asyncio.wait({loading}, timeout=LIMIT_SECONDS)
    assert loading.cancelled()
    assert {process.pid for process in marked(**stack)} == before


MODEL_SERVER = """
import os, pathlib, sys, time
from models_node.catalogue import parse_catalogue
from models_node.residency.engine import VllmLauncher
from models_node.residency.nursery import link
from models_node.residency.nursery.link import Nursery, NurseryLimits, Request
where, boot = pathlib.Path(sys.argv[1]), sys.argv[2]
link.BOOT = boot
nursery = Nursery(dict(os.environ), "CAPIBARA6_ENGINE", where / "nursery.log", NurseryLimits(15, 2**30))
nursery.start()
(where / "s").mkdir()
warden = nursery.fork(Request(where / "s", ["stays"], {**os.environ, "CAPIBARA6_ENGINE": "e"}, 60), 1)
time.sleep(600)
"""


def test_a_killed_model_server_leaves_nothing(making: Making, mark: str) -> None:
    boot = BOOT.format(where=str(making.where), extra="")
    server = subprocess.Popen(
        [sys.executable, "-c", MODEL_SERVER, str(making.where), boot],
        env=os.environ | {ALL: mark, "PYTHONPATH": str(ROOT)},
    )
    until((making.where / "s" / "child").exists)
    server.kill()
    server.wait()
    until(lambda: not marked(**{ALL: mark}))
    assert not (making.where / "s").exists()


def test_a_nursery_that_never_starts_is_given_up(making: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "RESTART_SECONDS", 0.05)
    nursery = making.nursery("raise SystemExit(3)")
    with pytest.raises(NurseryUnavailable, match="did not start 3 times"):
        nursery.fork(making.request("stays"), 1)
    assert nursery.shared_bytes() == 0


def test_one_that_has_threads_is_not_used(making: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork would miss the threads, and find their locks held for ever."""
    monkeypatch.setattr(link, "RESTART_SECONDS", 0.05)
    thread = "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    with pytest.raises(NurseryUnavailable):
        making.nursery(thread).fork(making.request("stays"), 1)


def test_one_that_takes_too_much_memory_is_not_used(making: Making, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "RESTART_SECONDS", 0.05)
    with pytest.raises(NurseryUnavailable):
        making.nursery(limits=NurseryLimits(15, 1024)).fork(making.request("stays"), 1)


def test_whoever_waits_for_a_starting_nursery_may_withdraw(making: Making) -> None:
    nursery = making.nursery("import time; time.sleep(600)")
    request = making.request("stays")
    nursery.withdraw(request)
    with pytest.raises(NurseryUnavailable, match="still starting"):
        nursery.fork(request, 1)


def test_one_that_does_not_answer_is_ended_and_nothing_of_the_request_stays(
    making: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "ANSWER_SECONDS", 0.5)
    nursery = making.nursery("parent.answer = lambda *_: __import__('time').sleep(600)")
    until(lambda: nursery.pid)
    first = nursery.pid
    with pytest.raises(NurseryUnavailable, match="did not fork"):
        nursery.fork(making.request("stays"), 1)
    until(lambda: not psutil.pid_exists(first or 0))
