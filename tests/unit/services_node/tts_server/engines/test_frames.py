import io
import struct

import pytest

from services_node.tts_server.engines.frames import MOST_BYTES, Broken, packed, read_frame


def test_frames_come_out_as_they_went_in() -> None:
    stream = io.BytesIO(packed({"id": 1, "text": "ñ"}, b"\x00\xff") + packed({"end": True}))
    assert read_frame(stream) == ({"id": 1, "text": "ñ"}, b"\x00\xff")
    assert read_frame(stream) == ({"end": True}, b"")
    assert read_frame(stream) is None


@pytest.mark.parametrize("cut", [1, 7, 9, 20])
def test_a_stream_that_ends_inside_a_frame_has_ended(cut: int) -> None:
    assert read_frame(io.BytesIO(packed({"id": 1}, b"0123456789")[:cut])) is None


def test_what_is_no_frame_is_refused_before_it_is_read() -> None:
    with pytest.raises(Broken, match="bytes"):
        read_frame(io.BytesIO(struct.pack(">II", 10, MOST_BYTES)))
    with pytest.raises(Broken, match="JSON"):
        read_frame(io.BytesIO(struct.pack(">II", 3, 0) + b"abc"))
    with pytest.raises(Broken, match="object"):
        read_frame(io.BytesIO(struct.pack(">II", 2, 0) + b"[]"))
