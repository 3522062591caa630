"""The agent's children: forked and reaped here, as a pid 1 must.

SIGCHLD leads to one place that waits for every child and orphan; whoever started a child holds a future of its status.
No thread waits for anything. Children are killed before the agent when memory runs out.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_LIBC: Any = ctypes.CDLL(None, use_errno=True)
_FIRST_KILLED = "1000"


def make_undumpable() -> None:
    """User code of the same uid may not read or write this process's memory, nor open its files under /proc."""
    _LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


class Children:
    """Every process the agent started. Statuses are as in `subprocess`: an exit code, or minus a signal."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[int]] = {}

    def listen(self) -> None:
        """From now on, in the running loop, children are reaped."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def fork(self, main: Callable[[], NoReturn], keep: Sequence[int]) -> tuple[int, asyncio.Future[int]]:
        """Forks this process into a session of its own, which runs `main` with the descriptors `keep` alone.

        Returns its pid and the future of its status. Raises OSError when there are too many processes.
        """
        pid = os.fork()
        if pid == 0:
            _become_child(main, keep)
        return pid, self._watch(pid)

    def spawn(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: int, stdout: int, stderr: int
    ) -> tuple[int, asyncio.Future[int]]:
        """Starts a program in a session of its own. Raises OSError when it cannot be started."""
        process = subprocess.Popen(
            arguments, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True,
            # Before it is the program, which might take all memory at once. The agent has no other threads.
            preexec_fn=_be_killed_first,  # noqa: PLW1509
        )  # fmt: skip
        # It is waited for here and by nobody else: `subprocess` shall not try.
        process.returncode = 0
        return process.pid, self._watch(process.pid)

    def _watch(self, pid: int) -> asyncio.Future[int]:
        # Nothing was reaped since the child was started: that happens in the loop, and this is the loop's thread.
        ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[pid] = ended
        return ended

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._waiting.pop(pid, None)
            if ended is not None and not ended.done():
                ended.set_result(os.waitstatus_to_exitcode(status))


def kill_group(pid: int, number: int) -> bool:
    """Signals the process group that `pid` leads. False when there is none."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _become_child(main: Callable[[], NoReturn], keep: Sequence[int]) -> NoReturn:
    """What a fork does before `main`: nothing of the agent's loop, signals and descriptors may be left.

    The agent's objects stay referenced from frames that never return, and are frozen, so that no finaliser closes a
    descriptor whose number user code has since been given.
    """
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        asyncio.events._set_running_loop(None)
        asyncio.set_event_loop(None)
        gc.freeze()
        os.setsid()
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        _be_killed_first()
        _close_all_but(sorted(keep))
        main()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)


def _be_killed_first() -> None:
    """This process, a fork of the agent's, before the agent when memory runs out."""
    _LIBC.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # else it may not write to its own files under /proc
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_KILLED)


def _close_all_but(keep: Sequence[int]) -> None:
    low = 0
    for descriptor in keep:
        if low < descriptor:  # Python takes an empty range from 0 for one without an end
            os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, os.sysconf("SC_OPEN_MAX"))
