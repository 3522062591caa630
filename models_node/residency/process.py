"""The warden of an engine as a process that is watched and signalled, whether it was started or forked."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Protocol


class Warden(Protocol):
    """A living or ended warden. Everything returns at once."""

    @property
    def pid(self) -> int: ...

    @property
    def pidfd(self) -> int:
        """Becomes readable when the warden has ended."""
        ...

    def send(self, number: signal.Signals) -> None:
        """Nothing happens when it has ended."""
        ...

    def status(self) -> int | None:
        """The engine's exit status (128 + n for a signal), once the warden has ended; None: the warden was killed."""
        ...

    def close(self) -> None:
        """Once, after its end: gives back the descriptors."""
        ...


class StartedWarden:
    """The warden of a plain start: a child of this process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid
        self.pidfd = os.pidfd_open(process.pid)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def status(self) -> int | None:
        code = self._process.wait()
        return code if code >= 0 else None

    def close(self) -> None:
        os.close(self.pidfd)


class ForkedWarden:
    """The warden of a forked start: the nursery's child. exit_pipe gets the engine's status at its end."""

    def __init__(self, pid: int, pidfd: int, exit_pipe: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self._exit_pipe = exit_pipe

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def status(self) -> int | None:
        os.set_blocking(self._exit_pipe, False)
        try:
            said = os.read(self._exit_pipe, 16)
        except BlockingIOError:  # somebody below holds the other end: the warden said nothing
            return None
        return int(said) if said else None

    def close(self) -> None:
        os.close(self.pidfd)
        os.close(self._exit_pipe)
