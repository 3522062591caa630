"""The prepared Postgres of the session, as the repositories use it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from installation import Installation
from sqlalchemy import make_url

from db.engine import Database


@pytest.fixture
async def database(postgres: Installation) -> AsyncIterator[Database]:
    url = postgres.run(
        "-c",
        "from stack.settings import get_settings as s; from stack.secrets import load_secrets as l;"
        "from db.urls import database_url as u; print(u(s(), l(s())).render_as_string(hide_password=False))",
    ).stdout.strip()
    made = Database(make_url(url))
    yield made
    await made.close()
