"""The bash kernel: a forked process in front of one bash that lives as long as its context.

bash reads code from one descriptor and writes each exit status to another; both are closed for what the code starts.
Output goes to the kernel's descriptors 1 and 2 directly.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
from typing import NoReturn

from .channel import Channel

# Code comes and statuses go ended by a zero byte, which neither can hold. `eval` runs in the shell itself, so that
# variables, functions and the folder stay; SIGINT ends what it waits for, not the shell.
_LOOP = """
trap : INT
while IFS= read -r -d '' -u {code} __code; do
    eval "$__code" {code}<&- {status}>&-
    printf '%s\\0' "$?" >&{status}
done
"""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_STATUS_BYTES = 64


def run(connection: socket.socket, cwd: str, max_bytes: int) -> NoReturn:
    """Runs executions until the agent closes the connection. Called in a fresh fork, with descriptors 0 to 2 set."""
    os.chdir(cwd)
    # A handler, not SIG_IGN: that would be inherited by bash and everything it starts.
    signal.signal(signal.SIGINT, lambda _number, _frame: None)
    channel = Channel(connection, max_bytes)
    shell = Shell()
    channel.send({"event": "ready"})
    count = 0
    while (request := channel.receive()) is not None:
        count += 1
        error = shell.execute(str(request.get("code", "")), dict(request.get("envs") or {}))
        if error:
            channel.send({"event": "error", "name": "ExitStatus", "value": error, "traceback": error})
        channel.send({"event": "count", "execution_count": count})
        channel.send({"event": "done"})
    os._exit(0)


class Shell:
    """One bash; a new one when the code ends it."""

    def __init__(self) -> None:
        self._start()

    def execute(self, code: str, envs: dict[str, str]) -> str:
        """Runs `code` with `envs` set meanwhile. Returns what was wrong, or an empty string."""
        if "\0" in code:
            return "the code holds a zero byte"
        names = [name for name in envs if _NAME.fullmatch(name)]
        if names:
            self._run("export " + " ".join(f"{name}={shlex.quote(envs[name])}" for name in names))
        status = self._run(code)
        if status is None:
            ended = self._bash.wait()
            self._start()
            return f"the shell ended (exit status {ended}); its variables are lost, the next execution starts a new one"
        if names:
            self._run("; ".join(_restoring(name) for name in names))
        return f"exit status {status}" if status else ""

    def _start(self) -> None:
        code_read, self._code = os.pipe()
        self._status, status_write = os.pipe()
        script = _LOOP.format(code=code_read, status=status_write)
        self._bash = subprocess.Popen(
            ["/bin/bash", "--norc", "--noprofile", "-c", script], pass_fds=(code_read, status_write)
        )
        os.close(code_read)
        os.close(status_write)

    def _run(self, code: str) -> int | None:
        """The exit status of `code`, or None when the shell has ended."""
        try:
            data = code.encode("utf-8", "replace") + b"\0"
            while data:
                data = data[os.write(self._code, data) :]
        except BrokenPipeError:
            return self._gone()
        status = b""
        while not status.endswith(b"\0"):
            piece = os.read(self._status, _STATUS_BYTES)
            if not piece:
                return self._gone()
            status += piece
        return int(status[:-1])

    def _gone(self) -> None:
        os.close(self._code)
        os.close(self._status)


def _restoring(name: str) -> str:
    value = os.environ.get(name)
    return f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"
