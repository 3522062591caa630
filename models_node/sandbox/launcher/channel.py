"""A message channel in an asyncio loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Any

from models_node.sandbox.inside import messages
from models_node.sandbox.inside.messages import Gone, Packet

WAITING_PACKETS = 256


class Channel:
    """One end of a SOCK_SEQPACKET pair, whose packets say who sent them.

    Packets wait in a bounded queue; the other end is not read while it is full.
    """

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._end = end
        self._packets: asyncio.Queue[Packet | None] = asyncio.Queue(WAITING_PACKETS)
        self._loop = asyncio.get_running_loop()
        self._reading = False
        self._closed = False
        self._read_on()

    def send(self, content: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Raises OSError when the other end has gone or does not read."""
        messages.send(self._end, content, descriptors)

    async def receive(self) -> Packet:
        """Raises Gone at the end."""
        packet = await self._packets.get()
        if packet is None:
            self._packets.put_nowait(None)
            raise Gone
        self._read_on()
        return packet

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._reading:
            self._loop.remove_reader(self._end)
        self._end.close()
        while not self._packets.empty():
            packet = self._packets.get_nowait()
            if packet:
                messages.close(packet.descriptors)
        self._packets.put_nowait(None)

    def _read_on(self) -> None:
        if not self._reading and not self._closed:
            self._reading = True
            self._loop.add_reader(self._end, self._readable)

    def _readable(self) -> None:
        packet: Packet | None = None
        with contextlib.suppress(Gone, OSError):
            try:
                packet = messages.receive(self._end)
            except (ValueError, BlockingIOError):
                return
        if packet is None or self._packets.qsize() >= WAITING_PACKETS - 2:
            self._loop.remove_reader(self._end)
            self._reading = False
        self._packets.put_nowait(packet)
        if packet is None:
            self._closed = True
            self._end.close()


async def ended(pidfd: int) -> None:
    """Returns when the process has ended. pidfd: see pidfd_open(2)."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def told() -> None:
        if not done.done():
            done.set_result(None)

    loop.add_reader(pidfd, told)
    try:
        await done
    finally:
        loop.remove_reader(pidfd)
