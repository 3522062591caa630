"""`python -m flows.prefect_server`: Prefect's server and UI on our Postgres, in this process.

In this process, because of one thing only: Prefect's migrations ask for the extension `pg_trgm`, which the embedded
Postgres's wheel leaves out. It serves indexes that make searching runs by part of their name faster, nothing else. On a
server that hasn't got it, those are made as plain hash indexes. Any other Postgres is left as Prefect wants it.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import Any

import asyncpg
from sqlalchemy import URL, Engine, event

from db.urls import PREFECT_DATABASE, database_url, shown_url
from flows.prefect_settings import server_environment
from stack.errors import StackError
from stack.secrets import load_secrets
from stack.settings import get_settings
from stack.topology import load_topology

_EXTENSION = re.compile(r"CREATE\s+EXTENSION\s+IF\s+NOT\s+EXISTS\s+pg_trgm", re.IGNORECASE)
_INDEX = re.compile(r"USING\s+gin\s*\(\s*(\w+)\s+gin_trgm_ops\s*\)", re.IGNORECASE)


def main() -> int:
    try:
        settings = get_settings()
        topology = load_topology(settings)
        topology.check_placement("prefect-server")
        secrets = load_secrets(settings)
        environment = server_environment(settings, secrets)
        url = database_url(settings, secrets, PREFECT_DATABASE)
        host, port = topology.bind_host("prefect-server"), topology.port("prefect-server")
    except StackError as error:
        return _refuse(f"{error} ({error.mend})" if error.mend else str(error), error.exit_code)
    try:
        trigrams = asyncio.run(has_trigrams(url))
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        return _refuse(f"Postgres at {shown_url(url)}: {error}", 1)
    os.environ.update(environment)
    if not trigrams:
        event.listen(Engine, "before_cursor_execute", without_trigrams, retval=True)

    from prefect.cli import app

    sys.argv = ["prefect", "server", "start", "--host", host, "--port", str(port)]
    app()
    return 0


async def has_trigrams(url: URL) -> bool:
    """Whether this Postgres can make the extension `pg_trgm`."""
    connection = await asyncpg.connect(
        host=url.host, port=url.port or 5432, user=url.username, password=url.password,
        database=url.database, timeout=10, ssl=url.query.get("ssl"),
    )  # fmt: skip
    try:
        return bool(await connection.fetchval("SELECT 1 FROM pg_available_extensions WHERE name = 'pg_trgm'"))
    finally:
        await connection.close()


def rewritten(statement: str) -> str:
    """A statement of Prefect's migrations, without the extension."""
    if "trgm" not in statement:
        return statement
    return _INDEX.sub(r"USING hash (\1)", _EXTENSION.sub("SELECT 1", statement))


def without_trigrams(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool
) -> tuple[str, Any]:
    return rewritten(statement), parameters


def _refuse(reason: str, status: int) -> int:
    sys.stderr.write(f"prefect-server: {reason}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
