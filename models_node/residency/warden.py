"""The parent of one engine's processes: when the engine or the model server ends, however they end, all of it ends.

vLLM is a tree (API server, engine core, worker, resource tracker), and a tree outlives its killed root. This small
process, the standard library alone, is made the reaper of every orphan below it. It ends the tree when

- it is told to: by SIGTERM the engine is asked first and killed after the grace time, by SIGINT it is killed at once;
- its own parent, the model server, is gone, also by SIGKILL: nobody is served any more, the grace is short;
- the engine's first process has ended, for whatever reason.

It leaves with the engine's exit status (128 + n for a signal), and takes the scratch folder with it. A plain engine's
warden is a program of its own; a forked engine's is a fork of the nursery that calls `guard`.

    python -I -S warden.py PARENT_PID GRACE_SECONDS SCRATCH_FOLDER COMMAND...
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PARENT_ENDED = signal.SIGUSR1  # not SIGTERM: it also comes when only the parent's thread ended, or a parent of several
WATCHED = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, PARENT_ENDED}
ORPHAN_GRACE_SECONDS = 2.0
PARENT_CHECK_SECONDS = 1.0  # beside PDEATHSIG, which looks at the parent's thread only
TRACKER_SECONDS = 2.0  # what a resource tracker gets to unlink the shared memory of killed processes


def main(arguments: list[str]) -> int:
    parent, grace_seconds, scratch, command = int(arguments[0]), float(arguments[1]), arguments[2], arguments[3:]

    def start() -> int:
        return os.posix_spawn(command[0], command, os.environ, setpgroup=0, setsigmask=(), setsigdef=WATCHED)

    return guard(start, {parent}, grace_seconds, scratch)


def guard(start: Callable[[], int], parents: Collection[int], grace_seconds: float, scratch: str) -> int:
    """Starts the engine and stays until none of its processes is left. Returns the exit status of its first process.

    start: returns the pid of that process, a child of this one. parents: this process is an orphan once its parent is
    none of them.
    """
    become_reaper()
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    engine = start()
    Path(scratch, "pid").write_text(str(engine), encoding="ascii")
    status = watch(engine, parents, grace_seconds)
    end_all()
    shutil.rmtree(scratch, ignore_errors=True)
    return status


def become_reaper() -> None:
    """Orphans below this process become its children, and its parent's end sends it PARENT_ENDED."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, int(PARENT_ENDED), 0, 0, 0)


def watch(engine: int, parents: Collection[int], grace_seconds: float) -> int:
    """Returns the engine's exit status once its first process has ended, by itself or because it had to."""
    kill_at: float | None = None
    while True:
        status = reap(engine)
        if status is not None:
            return status
        told = signal.sigtimedwait(WATCHED, PARENT_CHECK_SECONDS)
        number = told.si_signo if told is not None else 0
        orphaned = os.getppid() not in parents
        if number == signal.SIGINT:
            kill_at = time.monotonic()
        elif kill_at is None and (number == signal.SIGTERM or orphaned):
            kill_at = time.monotonic() + (min(grace_seconds, ORPHAN_GRACE_SECONDS) if orphaned else grace_seconds)
            os.kill(engine, signal.SIGTERM)
        if kill_at is not None and time.monotonic() >= kill_at:
            os.kill(engine, signal.SIGKILL)


def reap(engine: int) -> int | None:
    """Buries every ended child; the engine's exit status if it is among them."""
    status: int | None = None
    while True:
        try:
            pid, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == engine:
            status = os.WEXITSTATUS(code) if os.WIFEXITED(code) else 128 + os.WTERMSIG(code)


def end_all() -> None:
    """Kills all that is left below this process; resource trackers last, for they unlink what the others shared."""
    deadline = time.monotonic() + TRACKER_SECONDS
    while left := descendants():
        for pid in left:
            if time.monotonic() >= deadline or not is_tracker(pid):
                kill(pid)
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)
        reap(0)


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def is_tracker(pid: int) -> bool:
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def descendants() -> list[int]:
    """Every process below this one, the nearest first; the ended ones that wait for burial are left out."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: list[int] = []
    level = children.get(os.getpid(), [])
    while level:
        found += level
        level = [child for pid in level for child in children.get(pid, [])]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
