"""Prefect's migrations on a server without `pg_trgm`."""

from __future__ import annotations

from flows.prefect_server import rewritten


def test_the_extension_and_its_indexes_are_left_out() -> None:
    assert rewritten("CREATE EXTENSION IF NOT EXISTS pg_trgm;") == "SELECT 1;"
    index = "CREATE INDEX CONCURRENTLY\n trgm_ix_flow_name\n ON flow USING gin (name gin_trgm_ops);"
    assert rewritten(index) == "CREATE INDEX CONCURRENTLY\n trgm_ix_flow_name\n ON flow USING hash (name);"


def test_everything_else_is_left_alone() -> None:
    for statement in ("SELECT 1", "CREATE INDEX x ON y USING gin (tags)", "DROP INDEX trgm_ix_flow_name"):
        assert rewritten(statement) == statement
