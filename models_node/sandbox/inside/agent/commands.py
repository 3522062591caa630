"""One command or terminal: a process, its output for whoever listens, its input. Bytes, not text.

A command outlives the client that started it (the SDK can connect again), until its deadline. Output nobody listens to
is thrown away; a listener that reads slowly slows the command down; more output than the bound ends it.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import termios
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from .children import Children, kill_group

_READ_BYTES = 64 * 1024
_QUEUE_BYTES = 1024 * 1024
_IDLE_SECONDS = 0.05
# What may still be read of a pipe when the process has ended: others may hold it open and go on writing.
_LAST_BYTES = 1024 * 1024

Stream = Literal["stdout", "stderr", "pty"]


@dataclass(frozen=True, slots=True)
class CommandConfig:
    """What was asked for."""

    arguments: Sequence[str]
    envs: Mapping[str, str]
    cwd: str | None
    tag: str | None
    size: tuple[int, int] | None
    """Rows and columns of a terminal; None: pipes."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. `exit_code` is -1 for a signal, as envd has it."""

    exit_code: int
    exited: bool
    status: str
    error: str | None


class Subscriber:
    """One client's view of a command's output, in order. `ended` comes last."""

    def __init__(self) -> None:
        self.pieces: deque[tuple[Stream, bytes]] = deque()
        self.ended: Ended | None = None
        self.arrived = asyncio.Event()
        self.waiting_bytes = 0

    def put(self, stream: Stream, data: bytes) -> None:
        self.pieces.append((stream, data))
        self.waiting_bytes += len(data)
        self.arrived.set()

    def end(self, ended: Ended) -> None:
        self.ended = ended
        self.arrived.set()


class Command:
    """A running command. Made by `start_command`."""

    def __init__(
        self,
        pid: int,
        ended: asyncio.Future[int],
        config: CommandConfig,
        outputs: Mapping[Stream, int],
        stdin: int | None,
        output_bytes: int,
    ) -> None:
        self.pid = pid
        self.config = config
        self._loop = asyncio.get_running_loop()
        self._outputs = dict(outputs)
        self._stdin = stdin
        self._subscribers: list[Subscriber] = []
        self._output_bytes = output_bytes
        self._left = output_bytes
        self._cut = False
        self._deadline: asyncio.TimerHandle | None = None
        self.timed_out = False
        self.result: Ended | None = None
        self.gone = asyncio.Event()
        for stream, descriptor in self._outputs.items():
            os.set_blocking(descriptor, False)
            self._loop.add_reader(descriptor, self._readable, stream)
        if stdin is not None:
            os.set_blocking(stdin, False)
        ended.add_done_callback(self._ended)

    def subscribe(self) -> Subscriber:
        """From now on output goes to this subscriber too."""
        subscriber = Subscriber()
        if self.result is not None:
            subscriber.end(self.result)
        self._subscribers.append(subscriber)
        self._resume()
        return subscriber

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """The client left."""
        self._subscribers.remove(subscriber)
        self._resume()

    def take(self, subscriber: Subscriber) -> list[tuple[Stream, bytes]]:
        """The pieces that wait for this subscriber."""
        pieces = list(subscriber.pieces)
        subscriber.pieces.clear()
        subscriber.waiting_bytes = 0
        if subscriber.ended is None:
            subscriber.arrived.clear()
        self._resume()
        return pieces

    def expire_after(self, seconds: float) -> None:
        """It is killed then, with everything in its process group."""
        self._deadline = self._loop.call_later(seconds, self._expire)

    def signal(self, number: int) -> bool:
        """Signals its process group. False when it has ended."""
        return self.result is None and kill_group(self.pid, number)

    @property
    def has_terminal(self) -> bool:
        return self.config.size is not None

    @property
    def takes_input(self) -> bool:
        return self._stdin is not None

    async def write(self, data: bytes, limit_seconds: float) -> None:
        """Writes to its standard input or terminal. Raises OSError, and TimeoutError when it does not read."""
        view = memoryview(data)
        while view:
            if self._stdin is None:
                raise BrokenPipeError
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                await self._writable(self._stdin, limit_seconds)

    def close_stdin(self) -> None:
        """It reads an end of file. Only without a terminal."""
        if self._stdin is not None and not self.has_terminal:
            os.close(self._stdin)
            self._stdin = None

    def resize(self, rows: int, columns: int) -> None:
        """The terminal's new size."""
        set_size(self._outputs["pty"], rows, columns)

    async def _writable(self, descriptor: int, limit_seconds: float) -> None:
        writable = asyncio.Event()
        self._loop.add_writer(descriptor, writable.set)
        try:
            await asyncio.wait_for(writable.wait(), limit_seconds)
        finally:
            self._loop.remove_writer(descriptor)

    def _expire(self) -> None:
        self.timed_out = True
        self.signal(signal.SIGKILL)

    def _readable(self, stream: Stream) -> None:
        count = self._read(stream)
        descriptor = self._outputs.get(stream)
        if descriptor is None or count == 0:
            return
        if not self._subscribers:
            self._loop.remove_reader(descriptor)
            self._loop.call_later(_IDLE_SECONDS, self._resume)
        elif any(subscriber.waiting_bytes > _QUEUE_BYTES for subscriber in self._subscribers):
            self._loop.remove_reader(descriptor)

    def _resume(self) -> None:
        """Reads on, unless a subscriber has too much waiting."""
        if all(subscriber.waiting_bytes <= _QUEUE_BYTES for subscriber in self._subscribers):
            for stream, descriptor in self._outputs.items():
                self._loop.add_reader(descriptor, self._readable, stream)

    def _read(self, stream: Stream) -> int:
        try:
            data = os.read(self._outputs[stream], _READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:  # a terminal whose last process has gone
            data = b""
        if not data:
            self._close(stream)
        elif self.result is None and self._subscribers:
            self._deliver(stream, data)
        return len(data)

    def _deliver(self, stream: Stream, data: bytes) -> None:
        if self._cut:
            return
        if stream != "pty":  # who looks at a terminal sees it pass
            if len(data) > self._left:
                self._cut = True
                notice = f"\n[output cut: more than {self._output_bytes} bytes; the command was killed]\n".encode()
                for subscriber in self._subscribers:
                    subscriber.put(stream, data[: self._left])
                    subscriber.put("stderr", notice)
                self.signal(signal.SIGKILL)
                return
            self._left -= len(data)
        for subscriber in self._subscribers:
            subscriber.put(stream, data)

    def _ended(self, ended: asyncio.Future[int]) -> None:
        for stream in list(self._outputs):
            left = _LAST_BYTES
            while left > 0 and stream in self._outputs and (count := self._read(stream)):
                left -= count
        if self._deadline is not None:
            self._deadline.cancel()
        if self._stdin is not None:
            if not self.has_terminal:
                os.close(self._stdin)
            self._stdin = None
        self.result = _result(ended.result())
        self.gone.set()
        for subscriber in self._subscribers:
            subscriber.end(self.result)
        # What it left behind may hold the pipes: they are emptied until the last writer closes them.
        self._resume()

    def _close(self, stream: Stream) -> None:
        descriptor = self._outputs.pop(stream)
        self._loop.remove_reader(descriptor)
        if stream == "pty" and self._stdin is not None:
            self._stdin = None
        os.close(descriptor)


def start_command(
    children: Children, config: CommandConfig, env: Mapping[str, str], cwd: Path, *, stdin: bool, output_bytes: int
) -> Command:
    """Starts it. Raises OSError."""
    if config.size is not None:
        return _start_terminal(children, config, env, cwd, config.size, output_bytes)
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:

        def pipe() -> tuple[int, int]:
            reading, writing = os.pipe()
            return reading, writing

        out_read, out_write = pipe()
        ours.callback(os.close, out_read)
        theirs.callback(os.close, out_write)
        err_read, err_write = pipe()
        ours.callback(os.close, err_read)
        theirs.callback(os.close, err_write)
        in_write: int | None = None
        if stdin:
            in_read, in_write = pipe()
            ours.callback(os.close, in_write)
        else:
            in_read = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        theirs.callback(os.close, in_read)
        pid, ended = children.spawn(
            config.arguments, cwd=cwd, env=env, stdin=in_read, stdout=out_write, stderr=err_write
        )
        ours.pop_all()
        return Command(pid, ended, config, {"stdout": out_read, "stderr": err_read}, in_write, output_bytes)


def set_size(descriptor: int, rows: int, columns: int) -> None:
    """Sets a terminal's size; its foreground processes are told (SIGWINCH)."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0))


def _start_terminal(
    children: Children,
    config: CommandConfig,
    env: Mapping[str, str],
    cwd: Path,
    size: tuple[int, int],
    output_bytes: int,
) -> Command:
    ours, theirs = os.openpty()
    os.set_inheritable(ours, False)
    try:
        set_size(ours, *size)

        def child() -> NoReturn:
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
            for descriptor in (0, 1, 2):
                os.dup2(theirs, descriptor)
            os.chdir(cwd)
            os.execvpe(config.arguments[0], list(config.arguments), dict(env))  # noqa: S606

        pid, ended = children.fork(child, (theirs,))
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    return Command(pid, ended, config, {"pty": ours}, ours, output_bytes)


def _result(status: int) -> Ended:
    """As Go's `ProcessState` says it, which envd is written in."""
    if status >= 0:
        text = f"exit status {status}"
        return Ended(status, True, text, None if status == 0 else text)
    try:
        name = signal.strsignal(-status) or str(-status)
    except ValueError:
        name = str(-status)
    text = f"signal: {name.lower()}"
    return Ended(-1, False, text, text)
