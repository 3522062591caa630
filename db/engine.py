"""One pool of connections, used a statement at a time.

Every statement is its own transaction (AUTOCOMMIT): a turn's writes are single statements, so nothing pays for BEGIN
and COMMIT round trips, and no connection is asked whether it lives before each use. Instead, a statement that met a
dead connection (Postgres was restarted) is run once more on a new one; every statement here may be run twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asyncpg import PostgresError
from sqlalchemy import URL, Executable, Row
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from db.errors import DatabaseUnavailable

# Connections are kept once made: one that is closed after a burst is made anew, password and prepared statements and
# all, while the next burst waits for its first tokens.
POOL_SIZE = 20
POOL_OVERFLOW = 0
POOL_WAIT_SECONDS = 5
CONNECT_SECONDS = 3.0
STATEMENT_SECONDS = 15.0
RECYCLE_SECONDS = 1800  # before a firewall on the way to a managed Postgres forgets an idle connection

Parameters = Mapping[str, Any]
# Postgres's own words for "not now": starting up, shutting down, no slots left.
_NOT_NOW = ("57P01", "57P02", "57P03", "53300")
_CONNECTION_EXCEPTION = "08"  # the class; asyncpg's own words, too, for a connection that broke while it was made


class Database:
    """The pool. Raises DatabaseUnavailable for everything that means "not reachable now"."""

    def __init__(self, url: URL) -> None:
        self._engine: AsyncEngine = create_async_engine(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=POOL_SIZE,
            max_overflow=POOL_OVERFLOW,
            pool_timeout=POOL_WAIT_SECONDS,
            pool_recycle=RECYCLE_SECONDS,
            connect_args={
                "timeout": CONNECT_SECONDS,
                "command_timeout": STATEMENT_SECONDS,
                "server_settings": {"application_name": "capibara6"},
            },
        )

    async def rows(self, statement: Executable, parameters: Parameters | None = None) -> Sequence[Row[Any]]:
        """Runs a statement and returns its rows (none for one that returns nothing)."""
        try:
            return await self._run(statement, parameters)
        except DBAPIError as error:
            if not _is_stale(error):
                raise _told(error) from error
        try:
            return await self._run(statement, parameters)
        except DBAPIError as error:
            raise _told(error) from error

    async def close(self) -> None:
        await self._engine.dispose()

    async def _run(self, statement: Executable, parameters: Parameters | None) -> Sequence[Row[Any]]:
        try:
            async with self._engine.connect() as connection:
                result = await connection.execute(statement, parameters)
                return result.fetchall() if result.returns_rows else ()
        except PoolTimeout:
            raise DatabaseUnavailable("Every connection to the database is busy.") from None
        except (TimeoutError, OSError) as error:
            raise DatabaseUnavailable() from error
        except PostgresError as error:  # raised while connecting, before SQLAlchemy wraps anything
            if _means_not_now(error.sqlstate):
                raise DatabaseUnavailable() from error
            raise


def _means_not_now(sqlstate: str | None) -> bool:
    return sqlstate is not None and (sqlstate in _NOT_NOW or sqlstate.startswith(_CONNECTION_EXCEPTION))


def _is_stale(error: DBAPIError) -> bool:
    return error.connection_invalidated or _means_not_now(getattr(error.orig, "sqlstate", None))


def _told(error: DBAPIError) -> Exception:
    return DatabaseUnavailable() if _is_stale(error) else error
