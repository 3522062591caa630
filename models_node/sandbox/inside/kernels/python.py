"""The Python kernel: IPython in the forked process itself."""

import os
import random
import signal
import socket
import sys
from types import FrameType
from typing import Any, NoReturn

from .channel import Channel
from .shell import KernelShell, show_error
from .stdio import flush_all, install_streams


def run(connection: socket.socket, cwd: str, max_bytes: int) -> NoReturn:
    """Runs executions until the agent closes the connection. Called in a fresh fork, with descriptors 0 to 2 set."""
    install_streams()
    _reseed()
    _enter(cwd)
    kernel = PythonKernel(Channel(connection, max_bytes))
    signal.signal(signal.SIGINT, kernel.interrupt)
    kernel.serve()
    os._exit(0)


class PythonKernel:
    """One cell at a time; an interrupt reaches user code only while a cell runs."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._shell: KernelShell = KernelShell.instance()
        self._shell.channel = channel
        self._running = False

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """SIGINT: a KeyboardInterrupt in the cell that runs, nothing between cells."""
        if self._running:
            raise KeyboardInterrupt

    def serve(self) -> None:
        """Until the agent is gone."""
        self._channel.send({"event": "ready"})
        while (request := self._channel.receive()) is not None:
            if request.get("op") == "execute":
                self._execute(str(request["code"]), dict(request.get("envs") or {}))

    def _execute(self, code: str, envs: dict[str, str]) -> None:
        before = {name: os.environ.get(name) for name in envs}
        try:
            self._running = True
            try:
                os.environ.update(envs)
                self._run_cell(code)
                flush_all()
            finally:
                self._running = False
        except KeyboardInterrupt:  # between the cell's end and here
            show_error("KeyboardInterrupt", "", "KeyboardInterrupt")
        if not self._channel.is_mine:
            # User code forked and its child came back here: it must not answer in the kernel's name.
            os._exit(0)
        flush_all()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._channel.send({"event": "count", "execution_count": self._shell.execution_count - 1})
        self._channel.send({"event": "done"})

    def _run_cell(self, code: str) -> None:
        shown = self._shell.errors_shown
        result = self._shell.run_cell(code, store_history=True)
        error = result.error_before_exec or result.error_in_exec
        if error is not None and self._shell.errors_shown == shown:
            # e.g. a misused magic: IPython prints it and calls nobody
            show_error(type(error).__name__, str(error), f"{type(error).__name__}: {error}")


def _reseed() -> None:
    """Forked processes must not draw the same random numbers."""
    random.seed()
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _enter(cwd: str) -> None:
    os.chdir(cwd)
    sys.argv = [""]
    if "" not in sys.path:
        sys.path.insert(0, "")
