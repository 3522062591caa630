"""Connections to engines: kept for a moment, never a wrong sign of an engine's death."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from models_node.server.backends import BackendBroken, Backends, Reply

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def engine(path: Path, script: Script) -> AsyncIterator[Backends]:
    backends = Backends()
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        running.add(task)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # the other end is gone
            await script(reader, writer)
        writer.close()
        running.discard(task)

    server = await asyncio.start_unix_server(serve, path)
    try:
        async with asyncio.timeout(10):
            yield backends
    finally:
        await backends.close()
        server.close()
        await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), 5)


async def asked(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"{}")


async def whole(reply: Reply) -> bytes:
    await reply.open()
    body = b""
    while piece := await reply.read():
        body += piece
    reply.close()
    return body


async def test_a_connection_is_used_again_after_a_whole_reply(tmp_path: Path) -> None:
    connections: list[int] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        while True:
            await asked(reader)
            connections[-1] += 1
            writer.write(WHOLE)

    path = tmp_path / "http"
    async with engine(path, answers) as backends:
        for _ in range(3):
            assert await whole(backends.engine(path, "/x", b"{}", {})) == b"{}"
        assert connections == [3]
        backends.forget(path)
        await whole(backends.engine(path, "/x", b"{}", {}))
        assert connections == [3, 1]


async def test_one_that_the_engine_closed_meanwhile_is_not_used_again(tmp_path: Path) -> None:
    closed = asyncio.Event()

    async def answers_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(WHOLE)
        await writer.drain()
        writer.close()
        closed.set()

    path = tmp_path / "http"
    async with engine(path, answers_once) as backends:
        for _ in range(3):
            closed.clear()
            assert await whole(backends.engine(path, "/x", b"{}", {})) == b"{}"
            await closed.wait()
            await asyncio.sleep(0)


async def test_a_reply_that_is_not_read_to_its_end_closes_its_connection(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def goes_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
        await reader.read()
        gone.set()

    path = tmp_path / "http"
    async with engine(path, goes_on) as backends:
        reply = backends.engine(path, "/x", b"{}", {})
        await reply.open()
        assert (reply.status, await reply.read()) == (200, b"one")
        reading = asyncio.create_task(reply.read())
        await asyncio.sleep(0)
        reply.close()
        await gone.wait()
        with pytest.raises(BackendBroken, match="closed here"):
            await reading


async def test_a_sender_faster_than_its_reader_is_held_back(tmp_path: Path) -> None:
    piece = b"x" * 2**16
    total = 64 * len(piece)
    stuck = asyncio.Event()

    async def floods(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        for _ in range(64):
            writer.write(piece)
            try:
                await asyncio.wait_for(writer.drain(), 0.2)
            except TimeoutError:
                stuck.set()
                await writer.drain()

    path = tmp_path / "http"
    async with engine(path, floods) as backends:
        reply = backends.engine(path, "/x", b"{}", {})
        await reply.open()
        await stuck.wait()
        received = 0
        while got := await reply.read():
            received += len(got)
        assert received == total
        reply.close()


async def test_what_does_not_speak_http_is_told(tmp_path: Path) -> None:
    async def mumbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"hello\r\n\r\n")
        await writer.drain()

    path = tmp_path / "http"
    async with engine(path, mumbles) as backends:
        with pytest.raises(BackendBroken, match="does not speak HTTP") as error:
            await backends.engine(path, "/x", b"{}", {}).open()
        assert not error.value.gone
