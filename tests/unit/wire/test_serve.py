"""What a client may do to a server before anyone asks who it is, over real sockets."""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from wire import serve
from wire.serve import AbortableProtocol

LIMIT_SECONDS = 20.0
HEAD = b"GET /brief HTTP/1.1\r\nhost: a\r\n"
REQUEST = HEAD + b"\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Server:
    """`/brief` answers at once, whatever of its body has come; `/long` streams until `release` is set."""

    def __init__(self, port: int, connections: set[AbortableProtocol]) -> None:
        self.port = port
        self.connections = connections
        self.release = asyncio.Event()
        self.streaming = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/long":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"begun", "more_body": True})
            self.streaming += 1
            await self.release.wait()
            await send({"type": "http.response.body", "body": b"ended"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def open(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        return reader, writer

    async def fate_of(self, sent: bytes = b"") -> bytes:
        """What such a client is told to the end of its connection, which is not its doing."""
        reader, writer = await self.open(sent)
        told = await all_of(reader)
        writer.close()
        return told

    async def ask(self) -> bytes:
        reader, writer = await self.open(REQUEST)
        async with asyncio.timeout(LIMIT_SECONDS):
            told = await reader.readexactly(len(ANSWER))
        writer.close()
        return told


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(256)
        found = Server(listener.getsockname()[1], set())
        config = uvicorn.Config(
            found, http=AbortableProtocol, ws="none", lifespan="off", log_config=None,
            server_header=False, date_header=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        running = uvicorn.Server(config)
        found.connections = running.server_state.connections  # type: ignore[assignment]
        task = asyncio.create_task(running._serve(sockets=[listener]))
        await until(lambda: running.started)
        yield found
        found.release.set()
        running.should_exit = True
        await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """To the end of the connection, however abrupt."""
    told = b""
    async with asyncio.timeout(LIMIT_SECONDS):
        try:
            while piece := await reader.read(65536):
                told += piece
        except ConnectionError:
            pass
    return told


@pytest.mark.parametrize("begun", [b"GET /bri", HEAD, b"\r\n", HEAD + b"a: b"])
async def test_a_head_without_an_end_is_cut_off_and_others_are_answered_meanwhile(
    server: Server, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(serve, "HEAD_SECONDS", 0.3)
    reader, _ = await server.open(begun)
    assert await server.ask() == ANSWER
    assert (await all_of(reader)).startswith(b"HTTP/1.1 408 ")
    await until(lambda: not server.connections)


async def test_who_says_nothing_is_cut_off_without_a_word(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "HEAD_SECONDS", 0.2)
    assert await server.fate_of() == b""


async def test_a_head_that_trickles_has_no_more_time_than_another(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "HEAD_SECONDS", 0.3)
    reader, writer = await server.open(HEAD)
    ended = asyncio.create_task(all_of(reader))
    async with asyncio.timeout(LIMIT_SECONDS):
        while not ended.done():
            writer.write(b"a: b\r\n")
            await asyncio.sleep(0.01)
    assert not (await ended).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("piece", [b"a: b\r\n" * 1000, b"x" * 8000, b"\r\n" * 4000])
async def test_an_endless_head_is_refused(server: Server, piece: bytes) -> None:
    first = b"" if piece.startswith(b"\r") else b"GET / HTTP/1.1\r\n"
    reader, writer = await server.open(first)
    sent = 0
    async with asyncio.timeout(LIMIT_SECONDS):
        try:
            while not writer.is_closing() and not reader.at_eof():
                writer.write(piece)
                await writer.drain()
                sent += len(piece)
                await asyncio.sleep(0)
        except ConnectionError:
            pass
    assert sent < 64 * 2**20  # what sockets take before the end is known, and no more than that
    assert await server.ask() == ANSWER


async def test_a_head_that_is_too_large_is_told_so_though_it_comes_at_once(server: Server) -> None:
    told = await server.fate_of(b"GET /brief HTTP/1.1\r\na: " + b"x" * serve.HEAD_BYTES + b"\r\n\r\n")
    assert not told.startswith(b"HTTP/1.1 200")


async def test_a_large_body_after_a_small_head_is_none_of_it(server: Server) -> None:
    size = 4 * serve.HEAD_BYTES
    reader, writer = await server.open(f"POST /brief HTTP/1.1\r\ncontent-length: {size}\r\n\r\n".encode() + b"x" * size)
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await reader.readexactly(len(ANSWER)) == ANSWER
        writer.write(REQUEST)
        assert await reader.readexactly(len(ANSWER)) == ANSWER
    writer.close()


async def test_what_came_of_a_body_together_with_its_head_does_not_count_against_the_next_head(server: Server) -> None:
    reader, writer = await server.open()
    await until(lambda: bool(server.connections))
    (connection,) = server.connections
    body = b"x" * (2 * serve.HEAD_BYTES)
    request = b"POST /brief HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % (2 * len(body)) + body
    for _ in range(2):
        connection.data_received(request)  # in one piece, which sockets give only sometimes
        connection.data_received(body)
        async with asyncio.timeout(LIMIT_SECONDS):
            assert await reader.readexactly(len(ANSWER)) == ANSWER
    writer.close()


async def test_many_small_requests_in_one_piece_are_all_answered(server: Server) -> None:
    count = 3 * serve.HEAD_BYTES // len(REQUEST)
    reader, writer = await server.open(REQUEST * count)
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await reader.readexactly(len(ANSWER) * count) == ANSWER * count
    writer.close()


async def test_a_long_answer_is_not_hurried_though_half_a_head_follows(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "HEAD_SECONDS", 0.2)
    reader, writer = await server.open(b"GET /long HTTP/1.1\r\n\r\n" + HEAD)
    for _ in range(2):
        await server.fate_of()  # lasts as long as a head may
    server.release.set()
    async with asyncio.timeout(LIMIT_SECONDS):
        assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"ended\r\n0\r\n\r\n")
        writer.write(b"\r\n")  # the other half
        assert await reader.readexactly(len(ANSWER)) == ANSWER
    writer.close()


async def test_a_body_that_trickles_after_its_answer_holds_no_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "HEAD_SECONDS", 0.3)
    reader, writer = await server.open(b"POST /brief HTTP/1.1\r\ncontent-length: 1000000\r\n\r\n")
    async with asyncio.timeout(LIMIT_SECONDS):
        assert await reader.readexactly(len(ANSWER)) == ANSWER
    ended = asyncio.create_task(all_of(reader))
    async with asyncio.timeout(LIMIT_SECONDS):
        while not ended.done():
            writer.write(b"x")
            await asyncio.sleep(0.01)


async def test_with_too_many_connections_the_longest_idle_one_gives_way_and_no_request_does(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "OPEN_CONNECTIONS", 8)
    long, kept = await server.open(b"GET /long HTTP/1.1\r\n\r\n")
    await until(lambda: server.streaming == 1)
    silent = [await server.open(HEAD[:number]) for number in range(40)]
    for _ in range(5):
        assert await server.ask() == ANSWER
    assert len(server.connections) <= 8
    assert await all_of(silent[0][0]) == b""
    server.release.set()
    async with asyncio.timeout(LIMIT_SECONDS):
        assert (await long.readuntil(b"0\r\n\r\n")).endswith(b"ended\r\n0\r\n\r\n")
    for _, writer in [*silent, (long, kept)]:
        writer.close()


async def test_when_all_are_being_answered_a_newcomer_is_turned_away(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "OPEN_CONNECTIONS", 3)
    held = [await server.open(b"GET /long HTTP/1.1\r\n\r\n") for _ in range(3)]
    await until(lambda: server.streaming == 3)
    assert await server.fate_of(REQUEST) == b""
    held[0][1].close()
    await until(lambda: len(server.connections) < 3)
    assert await server.ask() == ANSWER


def test_a_process_that_serves_may_open_what_it_is_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        serve._raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
