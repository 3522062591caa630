"""Small JSON messages with file descriptors, over a SOCK_SEQPACKET socket: one message, one packet.

Between gateway and launcher, launcher and template, launcher and a sandbox being made. The kernel says who sent a
packet (SCM_CREDENTIALS), in the receiver's own pid namespace.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PACKET_BYTES = 8192
MOST_DESCRIPTORS = 4


@dataclass(frozen=True, slots=True)
class Packet:
    """content: a JSON object. descriptors: the receiver's to close. pid: the sender's, 0 where it was not asked for."""

    content: dict[str, Any]
    descriptors: tuple[int, ...]
    pid: int


class Gone(Exception):
    """The other end has closed."""


def send(channel: socket.socket, content: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Raises OSError; on a non-blocking channel BlockingIOError when the other end does not read."""
    held = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    channel.sendmsg([json.dumps(content).encode()], held)


def receive(channel: socket.socket) -> Packet:
    """Raises Gone at the end, ValueError for a packet that is no message (its descriptors are closed)."""
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * 4) + socket.CMSG_SPACE(12)
    data, ancillary, flags, _ = channel.recvmsg(PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    descriptors: list[int] = []
    pid = 0
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers = array.array("i")
            numbers.frombytes(value[: len(value) - len(value) % numbers.itemsize])
            descriptors += numbers
        elif (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            pid = struct.unpack("iII", value[:12])[0]
    try:
        if not data:
            raise Gone
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise ValueError("a packet was cut short")
        content = json.loads(data)
        if not isinstance(content, dict):
            raise ValueError("a packet that is no object")
    except BaseException:
        close(descriptors)
        raise
    return Packet(content, tuple(descriptors), pid)


def close(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
