"""Agents that do not play by the rules, on a listener of their own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class RawAgent:
    """Ready as any other; every other request is answered by `answer`, byte by byte."""

    def __init__(self, listener: socket.socket, answer: Answer) -> None:
        self._answer = answer
        self._listener = listener
        self._writers: set[asyncio.StreamWriter] = set()
        self.ended = 0  # connections that were closed from the other side
        self._server = asyncio.create_task(asyncio.start_unix_server(self._serve, sock=listener))

    async def end(self) -> None:
        for writer in tuple(self._writers):
            writer.transport.abort()
        (await self._server).close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith((b"GET /ready", b"POST /init")):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                await writer.drain()
                return
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            self.ended += 1
        finally:
            self._writers.discard(writer)
            writer.close()
