"""The parent of the nursery and, should that die, of the engines forked from it.

It stays until its nursery and all their engines are gone. Its own parent's end ends the nursery and itself, and by that
the engines: their wardens see that neither nursery nor keeper is their parent any more.

    python -I -S keeper.py PARENT_PID SOCKET_FD COMMAND...      ({keeper} in COMMAND becomes this process's pid)
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
WATCHED = {signal.SIGTERM, signal.SIGCHLD}
PARENT_CHECK_SECONDS = 1.0  # PDEATHSIG looks at the parent's thread only


def main(arguments: list[str]) -> int:
    parent, socket, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, WATCHED)
    command = [word.replace("{keeper}", str(os.getpid())) for word in command]
    nursery = os.posix_spawn(command[0], command, os.environ, setsigmask=(), setsigdef=WATCHED)
    os.close(socket)
    while True:
        try:
            while (ended := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                nursery = 0 if ended == nursery else nursery
        except ChildProcessError:
            return 0
        told = signal.sigtimedwait(WATCHED, PARENT_CHECK_SECONDS)
        if (told is not None and told.si_signo == signal.SIGTERM) or os.getppid() != parent:
            if nursery:
                os.kill(nursery, signal.SIGKILL)
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
