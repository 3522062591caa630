"""The model server's side of the nursery: started in the background, watched, restarted, asked for forks.

A thread of its own keeps one nursery alive: a thread, because the keeper is told of this process's end by that of the
thread that started it. Whoever wants an engine waits for a nursery that is still importing (an import is a third of a
plain start), and is refused at once where there is none.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from models_node.residency.measuring import resident_bytes
from models_node.residency.nursery.environment import nursery_environment
from models_node.residency.process import ForkedWarden
from models_node.residency.remains import end_marked

log = logging.getLogger("models_node.residency")

ROOT = Path(__file__).resolve().parents[3]
KEEPER = Path(__file__).with_name("keeper.py")
BOOT = f"import sys; sys.path.append({str(ROOT)!r}); from models_node.residency.nursery.parent import main; \
sys.exit(main(sys.argv[1:]))"
PACKET_BYTES = 64 * 1024
ANSWER_SECONDS = 10.0  # a fork takes tens of milliseconds
RESTART_SECONDS = 1.0  # doubled after each death, up to
LONGEST_RESTART_SECONDS = 60.0
DEATHS_WHILE_STARTING = 3  # in a row: then there is something wrong, and engines are started the plain way
WATCH_SECONDS = 1.0


class NurseryUnavailable(Exception):
    """`str(error)` says why no engine can be forked; it is to be started the plain way."""


@dataclass(frozen=True, slots=True)
class NurseryLimits:
    """start_timeout_seconds: the longest import of vLLM; memory_bytes: beyond, a nursery is ended."""

    start_timeout_seconds: float
    memory_bytes: int


@dataclass(slots=True)
class Request:
    """An engine to be forked. arguments: its command line; environment: all its variables, its mark among them."""

    scratch: Path
    arguments: list[str]
    environment: Mapping[str, str]
    grace_seconds: float
    withdrawn: bool = False

    def packet(self) -> bytes:
        return json.dumps(
            {
                "scratch": str(self.scratch),
                "arguments": self.arguments,
                "environment": dict(self.environment),
                "grace_seconds": self.grace_seconds,
            }
        ).encode()


class State(Enum):
    STARTING = auto()
    READY = auto()
    GONE = auto()  # given up, or closed


@dataclass(slots=True)
class _Brood:
    """One keeper with its nursery, and what they share with their engines."""

    keeper: subprocess.Popen[bytes]
    link: socket.socket
    pid: int = 0
    pidfd: int = -1
    shared_bytes: int = 0

    @property
    def nursery_lives(self) -> bool:
        return self.pidfd >= 0 and not select.select([self.pidfd], [], [], 0)[0]


class Nursery:
    """Keeps one nursery until `close`. environment: what all engines have in common; mark: the name of the variable
    that tells engines apart.
    """

    def __init__(self, environment: Mapping[str, str], mark: str, output: Path, limits: NurseryLimits) -> None:
        self._environment = nursery_environment(environment, mark)
        self._mark = mark
        self._output = output
        self._limits = limits
        self._changed = threading.Condition()
        self._asking = threading.Lock()  # one request at a time on the link
        self._state = State.STARTING
        self._why = ""
        self._broods: list[_Brood] = []  # the last one is the present one
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="nursery", daemon=True)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables that forked engines have had since before they were forked."""
        return self._environment

    @property
    def pid(self) -> int | None:
        """The present nursery, once it is ready."""
        with self._changed:
            return self._broods[-1].pid if self._state is State.READY else None

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the nursery, and with it engines that are still there."""
        self._closing.set()
        self._give_up("the model server stops")
        if self._thread.is_alive():
            self._thread.join(ANSWER_SECONDS)

    def fork(self, request: Request, output: int) -> ForkedWarden:
        """Forks an engine whose log is the descriptor `output`. Blocks, while the nursery starts for as long as it may
        take. Raises NurseryUnavailable.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._state is not State.STARTING or request.withdrawn, self._limits.start_timeout_seconds
            )
            if self._state is not State.READY or request.withdrawn:
                raise NurseryUnavailable(self._why or "it is still starting")
            brood = self._broods[-1]
        with self._asking:
            reader, writer = os.pipe()
            try:
                pid, pidfd = ask(brood.link, request.packet(), [output, writer])
            except (OSError, ValueError, KeyError) as error:
                os.close(reader)
                # What comes from it now would be taken for the next one's answer, and may even be an engine.
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(brood.pidfd, signal.SIGKILL)
                end_marked(self._mark, request.environment[self._mark])
                raise NurseryUnavailable(f"it did not fork: {type(error).__name__}: {error}") from None
            finally:
                os.close(writer)
        return ForkedWarden(pid, pidfd, reader)

    def withdraw(self, request: Request) -> None:
        """Whoever waits with this request for the nursery to become ready waits no more."""
        with self._changed:
            request.withdrawn = True
            self._changed.notify_all()

    def shared_bytes(self) -> int:
        """Memory of the nursery, and of ended ones whose engines live on; what engines share with it is counted here
        and nowhere else. Blocks for some milliseconds.
        """
        with self._changed:
            broods = list(self._broods)
        total = 0
        for brood in broods:
            if brood.nursery_lives:
                brood.shared_bytes = max(brood.shared_bytes, resident_bytes(brood.pid))
            if brood.keeper.poll() is None:
                total += brood.shared_bytes
        return total

    # the thread

    def _keep(self) -> None:
        deaths = 0
        delay = RESTART_SECONDS
        while not self._closing.is_set():
            brood = self._raise()
            if brood is None:
                deaths += 1
                if deaths >= DEATHS_WHILE_STARTING:
                    self._give_up(f"it did not start {deaths} times in a row; log: {self._output}")
                    break
            else:
                deaths = 0
                lived = self._watch(brood)
                delay = RESTART_SECONDS if lived > LONGEST_RESTART_SECONDS else delay
            self._closing.wait(delay)
            delay = min(2 * delay, LONGEST_RESTART_SECONDS)
        while not self._closing.wait(WATCH_SECONDS):  # this thread's end would end engines that still live
            self._bury()
        for brood in self._broods:
            end(brood)

    def _raise(self) -> _Brood | None:
        """Starts a nursery and waits until it is ready. None: it failed."""
        try:
            brood = self._start()
        except OSError as error:
            log.warning("the nursery could not be started: %s", error)
            return None
        with self._changed:
            self._broods.append(brood)
        deadline = time.monotonic() + self._limits.start_timeout_seconds
        told: dict[str, float] | None = None
        while told is None and not self._closing.is_set() and time.monotonic() < deadline:
            if select.select([brood.link], [], [], 0.1)[0]:
                packet, descriptors, _, _ = socket.recv_fds(brood.link, PACKET_BYTES, 1)
                if not packet:
                    break
                told = json.loads(packet)
                brood.pid, brood.pidfd = int(told["pid"]), descriptors[0]
        brood.shared_bytes = resident_bytes(brood.pid) if told else 0
        if told is None or told["threads"] != 1 or brood.shared_bytes > self._limits.memory_bytes:
            if not self._closing.is_set():
                log.warning("the nursery did not become ready", extra={"told": told, "bytes": brood.shared_bytes})
            end(brood)
            self._bury()
            return None
        log.info("nursery ready", extra={"seconds": round(told["seconds"], 1), "bytes": brood.shared_bytes})
        self._become(State.READY)
        return brood

    def _start(self) -> _Brood:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fd = theirs.fileno()
        command = [
            sys.executable, "-I", "-S", str(KEEPER), str(os.getpid()), str(fd),
            sys.executable, "-I", "-c", BOOT, "{keeper}", str(fd), self._mark,
        ]  # fmt: skip
        try:
            with self._output.open("ab") as output, theirs:
                keeper = subprocess.Popen(
                    command, env=dict(self._environment), pass_fds=[fd], start_new_session=True,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                )  # fmt: skip
        except OSError:
            ours.close()
            raise
        ours.settimeout(ANSWER_SECONDS)
        return _Brood(keeper, ours)

    def _watch(self, brood: _Brood) -> float:
        """Returns when the nursery has ended, with how many seconds it lived."""
        began = time.monotonic()
        while not self._closing.is_set():
            if select.select([brood.pidfd], [], [], WATCH_SECONDS)[0]:
                log.warning("the nursery ended; its engines live on", extra={"pid": brood.pid})
                break
            self._bury()
            if resident_bytes(brood.pid) > self._limits.memory_bytes:
                log.warning("the nursery takes too much memory", extra={"bytes": resident_bytes(brood.pid)})
                signal.pidfd_send_signal(brood.pidfd, signal.SIGKILL)
        if not self._closing.is_set():
            self._become(State.STARTING)
        return time.monotonic() - began

    def _become(self, state: State) -> None:
        with self._changed:
            if self._state is not State.GONE:
                self._state = state
            self._changed.notify_all()

    def _give_up(self, why: str) -> None:
        with self._changed:
            if self._state is not State.GONE and not self._closing.is_set():
                log.warning("engines are started the plain way", extra={"reason": why})
            self._state, self._why = State.GONE, self._why or why
            self._changed.notify_all()

    def _bury(self) -> None:
        """Forgets keepers that have ended: neither nursery nor engine of theirs is left."""
        with self._changed:
            for brood in [brood for brood in self._broods if brood.keeper.poll() is not None]:
                self._broods.remove(brood)
                brood.link.close()
                if brood.pidfd >= 0:
                    os.close(brood.pidfd)


def ask(link: socket.socket, packet: bytes, descriptors: list[int]) -> tuple[int, int]:
    """One request and its answer: pid and pidfd of the warden. Raises OSError, ValueError or KeyError."""
    socket.send_fds(link, [packet], descriptors)
    answer, received, _, _ = socket.recv_fds(link, PACKET_BYTES, 1)
    if not received:
        raise OSError(answer.decode("utf-8", "replace") or "it ended")
    return int(json.loads(answer)["pid"]), received[0]


def end(brood: _Brood) -> None:
    """Ends nursery and keeper; engines of theirs are ended by their wardens."""
    brood.keeper.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        brood.keeper.wait(ANSWER_SECONDS)
