"""The pool against a server that is there but takes nobody."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from asyncpg import PostgresError
from sqlalchemy import URL, text

from db.engine import Database
from db.errors import DatabaseUnavailable


@asynccontextmanager
async def refusing(sqlstate: str | None) -> AsyncIterator[Database]:
    """A database whose server answers the startup message with that error, or closes the connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):  # the request for TLS, which is declined, and the startup message
            length, kind = struct.unpack("!II", await reader.readexactly(8))
            await reader.readexactly(length - 8)
            if kind != 80877103:
                break
            writer.write(b"N")
        if sqlstate:
            fields = b"SFATAL\0VFATAL\0C" + sqlstate.encode() + b"\0Mno\0\0"
            writer.write(b"E" + struct.pack("!I", len(fields) + 4) + fields)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    database = Database(URL.create("postgresql+asyncpg", "u", "p", "127.0.0.1", port, "d"))
    try:
        yield database
    finally:
        await database.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("sqlstate", ["08003", "08006", "08P01", "57P03", "53300", None])
async def test_a_connection_that_breaks_while_it_is_made_means_not_now(sqlstate: str | None) -> None:
    async with refusing(sqlstate) as database:
        with pytest.raises(DatabaseUnavailable):
            await database.rows(text("SELECT 1"))


async def test_a_refusal_for_another_reason_is_told_as_it_is() -> None:
    async with refusing("3D000") as database:
        with pytest.raises(PostgresError, match="no"):
            await database.rows(text("SELECT 1"))
