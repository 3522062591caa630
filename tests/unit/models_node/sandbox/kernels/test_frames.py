"""Frames between the agent and a kernel: cut anywhere, bounded, and never trusted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_node.sandbox.inside.kernels.frames import FrameError, FrameReader, pack


@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53)), max_size=5), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_they_are_cut(messages: list[dict[str, object]], size: int) -> None:
    stream = b"".join(pack(message) for message in messages)
    reader = FrameReader(10_000)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert [frame for piece in pieces for frame in reader.feed(piece)] == messages


def test_what_json_does_not_know_is_written_all_the_same() -> None:
    message = {"big": 2**100, "odd": "\ud800", "object": object, "nested": [{"a": (1, "\udfff")}], "nan": float("nan")}
    (frame,) = FrameReader(10_000).feed(pack(message))
    assert (frame["big"], frame["odd"], frame["nested"], frame["nan"]) == (str(2**100), "?", [{"a": [1, "?"]}], None)


@pytest.mark.parametrize("data", [b"\x00\x01\x00\x00", b"\x00\x00\x00\x02{]", b"\x00\x00\x00\x02[]"])
def test_a_frame_that_is_too_large_or_no_object_is_an_error(data: bytes) -> None:
    with pytest.raises(FrameError):
        list(FrameReader(1000).feed(data))
