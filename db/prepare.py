"""`python -m db prepare`: databases made when missing, ours migrated to the newest. Safe to run twice at once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from db.errors import SetupError
from db.urls import N8N_DATABASE, OWN_DATABASE, PREFECT_DATABASE, database_url, shown_url
from stack.secrets import Secrets
from stack.settings import Settings

WAIT_SECONDS = 60.0
_LOCK = 0x63617069  # "capi": one preparation at a time on a server
_NOT_YET = (OSError, asyncpg.CannotConnectNowError, TimeoutError, asyncpg.ConnectionDoesNotExistError)


async def prepare(settings: Settings, secrets: Secrets, *, wait_seconds: float = WAIT_SECONDS) -> None:
    """Raises SetupError in one clear line when the server can't be reached or a database can't be made."""
    own = database_url(settings, secrets, OWN_DATABASE)
    await wait_for_server(own, wait_seconds)
    for url in (own, database_url(settings, secrets, PREFECT_DATABASE)):
        if not await exists(url):
            await create(url)
    await migrate(own)


async def prepare_n8n(settings: Settings, secrets: Secrets, *, wait_seconds: float = WAIT_SECONDS) -> None:
    """The database that n8n makes its tables in: apart, because nothing else fails where it can't be had.

    Raises as `prepare`.
    """
    url = database_url(settings, secrets, N8N_DATABASE)
    await wait_for_server(url, wait_seconds)
    if not await exists(url):
        await create(url)


async def wait_for_server(url: URL, seconds: float) -> None:
    """Until the server takes connections (a missing database is an answer too)."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await exists(url)
        except _NOT_YET as error:
            if time.monotonic() > deadline:
                reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise SetupError(
                    f"Postgres at {shown_url(url)} did not answer in {seconds:.0f} s: {reason}",
                    "start it, or correct CAPIBARA6_DATABASE_URL",
                ) from None
            await asyncio.sleep(0.2)
        else:
            return


async def exists(url: URL) -> bool:
    try:
        connection = await _connect(url)
    except asyncpg.InvalidCatalogNameError:
        return False
    await connection.close()
    return True


async def create(url: URL) -> None:
    """Creates the database of `url`. Losing a race to another preparation is as good as winning it."""
    try:
        connection = await _connect(url.set(database="postgres"))
    except asyncpg.InvalidCatalogNameError:
        connection = await _connect(url.set(database="template1"))
    try:
        await connection.execute(f'CREATE DATABASE "{url.database}"')
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass
    except asyncpg.InsufficientPrivilegeError:
        raise SetupError(
            f"user {url.username} may not create database {url.database} on {url.host}",
            f"create it: CREATE DATABASE {url.database} OWNER {url.username}",
        ) from None
    finally:
        await connection.close()


async def migrate(url: URL) -> None:
    """Upgrades our database to the newest migration, one process at a time."""
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            await connection.execute(text(f"SELECT pg_advisory_lock({_LOCK})"))
            await connection.commit()
            try:
                await connection.run_sync(_upgrade)
                await connection.commit()
            finally:
                await connection.rollback()
                await connection.execute(text(f"SELECT pg_advisory_unlock({_LOCK})"))
                await connection.commit()
    finally:
        await engine.dispose()


def alembic_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    command.upgrade(alembic_config(connection), "head")


async def _connect(url: URL) -> asyncpg.Connection:
    ssl = url.query.get("ssl")
    try:
        return await asyncpg.connect(
            host=url.host, port=url.port or 5432, user=url.username, password=url.password,
            database=url.database, timeout=5, ssl=ssl,
        )  # fmt: skip
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise SetupError(
            f"Postgres at {shown_url(url)} refuses user {url.username}: {error}", "correct the URL"
        ) from None
