"""Alembic's entry: migrates over the connection `db.prepare` gives it."""

from __future__ import annotations

from alembic import context

from db.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
