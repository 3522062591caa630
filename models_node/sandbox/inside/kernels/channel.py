"""A kernel's end of the socket pair to the agent: blocking, safe for threads, silent in forked children."""

import os
import socket
import threading
from collections.abc import Mapping
from typing import Any

from .frames import FrameReader, pack

_RECEIVE_BYTES = 64 * 1024


class Channel:
    """One kernel's line to the agent. `max_bytes` bounds one frame, in both directions."""

    def __init__(self, connection: socket.socket, max_bytes: int) -> None:
        self._connection = connection
        self.max_bytes = max_bytes
        self._reader = FrameReader(max_bytes)
        self._waiting: list[dict[str, Any]] = []
        self._pid = os.getpid()
        # A reentrant lock: a result shown by a signal handler may come while another is being sent.
        self._sending = threading.RLock()

    @property
    def is_mine(self) -> bool:
        """False in a process that user code forked from the kernel: it shares the socket and must leave it alone."""
        return os.getpid() == self._pid

    def send(self, message: Mapping[str, Any]) -> bool:
        """Sends one frame. False when it is larger than a frame may be, or this is a forked child: nothing was sent."""
        if not self.is_mine:
            return False
        frame = pack(message)
        if len(frame) > self.max_bytes:
            return False
        with self._sending:
            self._connection.sendall(frame)
        return True

    def send_and_wait(self, message: Mapping[str, Any]) -> bool:
        """Sends one frame and waits until the agent has taken it in its place among the output."""
        with self._sending:
            if not self.send(message):
                return False
            self.receive()
        return True

    def receive(self) -> dict[str, Any] | None:
        """The next frame, or None when the agent is gone. Raises FrameError."""
        while not self._waiting:
            data = self._connection.recv(_RECEIVE_BYTES)
            if not data:
                return None
            self._waiting.extend(self._reader.feed(data))
        return self._waiting.pop(0)
