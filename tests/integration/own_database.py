"""A database of a test's own, on the session's Postgres: no chat API looks there for what there is to do."""

from __future__ import annotations

import asyncio
import uuid

from installation import Installation
from sqlalchemy import URL, make_url

from db.prepare import create, migrate


def own_database(postgres: Installation) -> URL:
    """Its URL, once it is made and migrated."""
    known = postgres.run(
        "-c",
        "from stack.settings import get_settings as s; from stack.secrets import load_secrets as l;"
        "from db.urls import database_url as u; print(u(s(), l(s())).render_as_string(hide_password=False))",
    ).stdout.strip()
    made = make_url(known).set(database=f"own_{uuid.uuid4().hex}")

    async def prepared() -> None:
        await create(made)
        await migrate(made)

    asyncio.run(prepared())
    return made
