"""The agent's side of one kernel: a forked process, its frames and its two streams."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NoReturn, Protocol

from ..kernels.frames import FrameReader, pack
from ..kernels.stdio import point_descriptors
from .children import Children, kill_group
from .pipes import OutputPipe

_RECEIVE_BYTES = 256 * 1024
# What a frame may be larger than the output it carries.
_FRAME_SLACK_BYTES = 256 * 1024

KernelMain = Callable[[socket.socket, str, int], NoReturn]


class Listener(Protocol):
    """Who listens to a kernel while it runs code."""

    def text(self, stream: str, text: str) -> None: ...
    def frame(self, message: dict[str, Any]) -> None: ...


class Kernel:
    """A kernel that was started. `ready` is done when it says so, `ended` (its status) when it is gone."""

    def __init__(self, children: Children, main: KernelMain, cwd: str, output_bytes: int) -> None:
        """Forks it. Raises OSError when there are too many processes or descriptors."""
        self._loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()

        def child() -> NoReturn:
            point_descriptors(out_write, err_write)
            os.close(out_write)
            os.close(err_write)
            main(theirs, cwd, output_bytes)

        try:
            self.pid, self.ended = children.fork(child, (theirs.fileno(), out_write, err_write))
        except OSError:
            for descriptor in (out_read, err_read):
                os.close(descriptor)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(out_write)
            os.close(err_write)
        ours.setblocking(False)
        self._connection = ours
        self._reader = FrameReader(output_bytes + _FRAME_SLACK_BYTES)
        self._unsent = bytearray()
        self._closed = False
        self._streams = {"stdout": OutputPipe(out_read), "stderr": OutputPipe(err_read)}
        self._listener: Listener | None = None
        self.ready: asyncio.Future[None] = self._loop.create_future()
        self._loop.add_reader(ours, self._readable)
        self.ended.add_done_callback(lambda _ended: self._close())

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    def listen(self, listener: Listener | None) -> None:
        """Frames and text go to `listener` from now on; with None they are thrown away."""
        for name, stream in self._streams.items():
            stream.listen(None if listener is None else partial(listener.text, name))
        self._listener = listener

    def send(self, message: Mapping[str, Any]) -> None:
        """Sends one frame; what the socket does not take now follows when it can."""
        idle = not self._unsent
        self._unsent += pack(message)
        if idle and self.alive:
            self._write()

    def interrupt(self) -> None:
        """SIGINT to it and what it started."""
        if self.alive:
            kill_group(self.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to it and what it started; `ended` follows."""
        if self.alive:
            kill_group(self.pid, signal.SIGKILL)

    def _write(self) -> None:
        try:
            sent = self._connection.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:  # it is going: `ended` tells
            self._unsent.clear()
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._connection, self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._connection)
        self._write()

    def _readable(self) -> None:
        self._read()
        if self._closed:
            # Nothing can be asked of it any more, whether it is dying or user code closed its socket.
            self._loop.remove_reader(self._connection)
            self.kill()

    def _read(self) -> bool:
        try:
            data = self._connection.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._closed = True
            return False
        try:
            for message in self._reader.feed(data):
                self._frame(message)
        except Exception:  # whatever it sends, FrameError or one that cannot be told on: it is user code's to choose
            self._closed = True
        return True

    def _frame(self, message: dict[str, Any]) -> None:
        # What was written before this frame was sent comes before it.
        for stream in self._streams.values():
            stream.drain()
        event = message.get("event")
        if event == "ready":
            if not self.ready.done():
                self.ready.set_result(None)
            return
        if self._listener is not None:
            self._listener.frame(message)
        if event == "result":
            self.send({"op": "ack"})

    def _close(self) -> None:
        # Its last words may still be in the socket.
        while not self._closed and self._read():
            pass
        for stream in self._streams.values():
            stream.close()
        self._loop.remove_reader(self._connection)
        self._loop.remove_writer(self._connection)
        self._connection.close()
        if not self.ready.done():
            self.ready.cancel()
