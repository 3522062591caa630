"""Migrations on a real Postgres: from the first tables, with rows in them, to the newest, and back."""

from __future__ import annotations

import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from installation import Installation
from sqlalchemy import URL, Connection, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from db.prepare import alembic_config, create
from db.tables import SEARCHED_CHARS, Base

CONVERSATION, RUN, FILE = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()


@pytest.fixture
async def url(postgres: Installation) -> AsyncIterator[URL]:
    """An empty database of its own."""
    known = postgres.run(
        "-c",
        "from stack.settings import get_settings as s; from stack.secrets import load_secrets as l;"
        "from db.urls import database_url as u; print(u(s(), l(s())).render_as_string(hide_password=False))",
    ).stdout.strip()
    made = make_url(known).set(database=f"migrations_{uuid.uuid4().hex}")
    await create(made)
    yield made
    connection = await connect(make_url(known))
    await connection.execute(f'DROP DATABASE "{made.database}" WITH (FORCE)')
    await connection.close()


async def connect(url: URL) -> asyncpg.Connection[Any]:
    return await asyncpg.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, database=url.database
    )


async def migrated(url: URL, revision: str) -> list[Any]:
    """Migrates, up or down, and returns in what the database then differs from the tables."""

    def migrate(connection: Connection) -> list[Any]:
        config = alembic_config(connection)
        if revision == "0001" and MigrationContext.configure(connection).get_current_revision() is not None:
            command.downgrade(config, revision)
        else:
            command.upgrade(config, revision)
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, Base.metadata))

    engine = create_async_engine(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(migrate)
    finally:
        await engine.dispose()


async def written(connection: asyncpg.Connection[Any]) -> None:
    """A conversation of the first version: a question, a long answer, a run with a step, a file."""
    await connection.execute("INSERT INTO principals (name) VALUES ('ana')")
    await connection.execute("INSERT INTO conversations (id, owner, title) VALUES ($1, 'ana', 't')", CONVERSATION)
    await connection.execute(
        "INSERT INTO runs (id, owner, kind, status, conversation_id, trace_id, stack_id, instance_id) "
        "VALUES ($1, 'ana', 'chat', 'completed', $2, 't', 's', $1)",
        RUN,
        CONVERSATION,
    )
    for role, content in (("user", "¿Cuándo llovió en los valles?"), ("assistant", "It rained " + "on days " * 50_000)):
        await connection.execute(
            "INSERT INTO messages (id, owner, conversation_id, run_id, role, content) "
            "VALUES (gen_random_uuid(), 'ana', $1, $2, $3, $4)",
            CONVERSATION,
            RUN,
            role,
            content,
        )
    await connection.execute(
        "INSERT INTO run_steps (id, run_id, owner, position, name, status) VALUES ($1, $1, 'ana', 1, $2, 'completed')",
        RUN,
        "model_call_retry",
    )
    await connection.execute(
        "INSERT INTO files (id, owner, conversation_id, run_id, name, media_type, size_bytes, sha256, storage_path) "
        "VALUES ($1, 'ana', $2, $3, 'n', 'text/plain', 1, '0', 'p')",
        FILE,
        CONVERSATION,
        RUN,
    )


async def test_rows_of_the_first_version_are_kept_searchable_and_get_what_is_new(url: URL) -> None:
    await migrated(url, "0001")
    connection = await connect(url)
    await written(connection)
    assert await migrated(url, "head") == []
    found = await connection.fetch(
        "SELECT role FROM messages WHERE search @@ websearch_to_tsquery('spanish', 'lluvias valle')"
        " OR search @@ websearch_to_tsquery('spanish', 'llover')"
        " OR search @@ websearch_to_tsquery('english', 'raining')"
        " ORDER BY position"
    )
    assert [row["role"] for row in found] == ["user", "assistant"]
    run = await connection.fetchrow("SELECT parent_id, tool_calls, tool_errors FROM runs")
    assert tuple(run.values()) == (None, 0, 0)
    step = await connection.fetchrow("SELECT kind, parent_id, detail FROM run_steps")
    assert tuple(step.values()) == ("model_call", None, None)
    conversation = await connection.fetchrow("SELECT summary, summary_until, forked_from FROM conversations")
    assert tuple(conversation.values()) == (None, None, None)
    await connection.close()


async def test_runs_of_before_come_from_a_chat_or_from_the_api(url: URL) -> None:
    """A run that a chat asked for has the chat's origin, however deep it is."""
    await migrated(url, "0001")
    connection = await connect(url)
    await written(connection)
    await migrated(url, "0002")
    child, deeper, other, later = (uuid.uuid4() for _ in range(4))
    for run, kind, parent in ((child, "code", RUN), (deeper, "code", child), (other, "code", None)):
        await connection.execute(
            "INSERT INTO runs (id, owner, kind, status, parent_id, trace_id, stack_id, instance_id) "
            "VALUES ($1, 'ana', $2, 'completed', $3, 't', 's', $1)",
            run,
            kind,
            parent,
        )
    await migrated(url, "head")
    found = {row["id"]: row["origin"] for row in await connection.fetch("SELECT id, origin FROM runs")}
    assert found == {RUN: "chat", child: "chat", deeper: "chat", other: "api"}
    await connection.execute(
        "INSERT INTO runs (id, owner, kind, status, trace_id, stack_id, instance_id) "
        "VALUES ($1, 'ana', 'code', 'completed', 't', 's', $1)",
        later,
    )
    assert await connection.fetchval("SELECT origin FROM runs WHERE id = $1", later) == "api"
    assert await connection.fetchval("SELECT count(*) FROM outbox") == 0
    await connection.close()


async def test_a_migration_can_be_taken_back_and_made_again_without_losing_rows(url: URL) -> None:
    await migrated(url, "head")
    connection = await connect(url)
    await written(connection)
    await migrated(url, "0001")
    assert await migrated(url, "head") == []
    counts = "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM runs), (SELECT count(*) FROM files)"
    assert tuple((await connection.fetchrow(counts)).values()) == (2, 1, 1)
    await connection.close()


async def test_search_has_both_languages_and_its_index(url: URL) -> None:
    await migrated(url, "head")
    connection = await connect(url)
    configurations = {row["cfgname"] for row in await connection.fetch("SELECT cfgname FROM pg_ts_config")}
    assert {"spanish", "english"} <= configurations
    await connection.execute("SET enable_seqscan = off")
    plan = await connection.fetch(
        "EXPLAIN SELECT id FROM messages WHERE search @@ websearch_to_tsquery('spanish', 'lluvia')"
    )
    assert any("ix_messages_search" in row[0] for row in plan)
    await connection.close()


def compounds(alphabet: str, length: int, ending: str) -> str:
    """Pairs of hyphenated words, whose stems differ between the languages: what makes most of a text's characters."""
    rng, made, size = random.Random(7), [], 0
    while size < 2 * SEARCHED_CHARS:
        first, second = ("".join(rng.choices(alphabet, k=length)) + ending for _ in range(2))
        made.append(f"{first}-{second} ")
        size += len(made[-1])
    return "".join(made)


@pytest.mark.parametrize("alphabet", ["𐐀𐐁𐐂𐐃𐐄𐐅𐐆", "世界人民大会议", "ÁñéíÓúç", "abcdefghij"])
async def test_no_text_is_too_much_for_the_search_column(url: URL, alphabet: str) -> None:
    """A message that could not be indexed could not be kept."""
    await migrated(url, "head")
    connection = await connect(url)
    await connection.execute("INSERT INTO principals (name) VALUES ('ana')")
    await connection.execute("INSERT INTO conversations (id, owner, title) VALUES ($1, 'ana', 't')", CONVERSATION)
    for length in (2, 3, 16, 100, 3000):
        for ending in ("aing", "abamos"):
            await connection.execute(
                "INSERT INTO messages (id, owner, conversation_id, role, content) "
                "VALUES (gen_random_uuid(), 'ana', $1, 'assistant', $2)",
                CONVERSATION,
                compounds(alphabet, length, ending),
            )
    assert await connection.fetchval("SELECT max(pg_column_size(search)) FROM messages") < 0.9 * 2**20
    await connection.close()
