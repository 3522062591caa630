from collections.abc import AsyncIterator

import pytest

from wire.sse import comment, encode, iter_data


async def chunked(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_events_survive_any_cut(size: int) -> None:
    stream = (
        encode({"content": "¿Qué?\n"})
        + b": comment\n\n"
        + b"event: x\r\ndata: one\r\ndata: two\r\n\r\n"
        + b"data: half"
    )
    assert [data async for data in iter_data(chunked(stream, size))] == ['{"content":"¿Qué?\\n"}', "one\ntwo"]


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_comments_are_told_to_whoever_asks_for_them(size: int) -> None:
    heard: list[str] = []
    stream = comment("loading, 3 s") + encode({}) + comment("a\u00f1o")
    assert [data async for data in iter_data(chunked(stream, size), heard.append)] == ["{}"]
    assert heard == ["loading, 3 s", "a\u00f1o"]
