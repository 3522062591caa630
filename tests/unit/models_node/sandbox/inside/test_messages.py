from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from models_node.sandbox.inside import messages


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_message_arrives_whole_with_its_descriptors_and_its_sender() -> None:
    ours, theirs = messages.pair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with ours, theirs, Path(os.devnull).open("rb") as file:
        messages.send(ours, {"step": "born"}, [file.fileno()])
        packet = messages.receive(theirs)
        assert packet.content == {"step": "born"}
        assert packet.pid == os.getpid()
        assert os.fstat(packet.descriptors[0]).st_rdev == os.fstat(file.fileno()).st_rdev
        assert not os.get_inheritable(packet.descriptors[0])
        messages.close(packet.descriptors)


def test_the_other_ends_end_is_told() -> None:
    ours, theirs = messages.pair()
    ours.close()
    with theirs, pytest.raises(messages.Gone):
        messages.receive(theirs)


@pytest.mark.parametrize("sent", [b"[]", b"nonsense", b'"x"', b"{" + b" " * messages.PACKET_BYTES + b"}"])
def test_what_is_no_message_is_refused_and_its_descriptors_closed(sent: bytes) -> None:
    ours, theirs = messages.pair()
    with ours, theirs, Path(os.devnull).open("rb") as file:
        before = open_files()
        socket.send_fds(ours, [sent], [file.fileno()])
        with pytest.raises(ValueError):
            messages.receive(theirs)
        assert open_files() == before
