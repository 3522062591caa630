"""What the measured chats left in our tables."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text

from bench._chat_stack import ChatStack
from db.engine import Database
from db.urls import database_url

# The first model call of each run; what came before it was its route and its tools.
_PARTS = text("""
SELECT runs.first_token_ms, extract(epoch FROM calls.started_at - runs.started_at) * 1000 AS planned_ms,
    CAST(calls.detail ->> 'first_token_ms' AS float) AS model_ms
FROM runs JOIN run_steps AS calls ON calls.run_id = runs.id AND calls.name = 'model_call'
WHERE runs.created_at > :since AND runs.status = 'completed'
""")
_KEPT = text("""
SELECT count(*) AS kept, count(flow_recorded_at) AS recorded FROM runs
WHERE created_at > :since AND status = 'completed'
""")
_NOW = text("SELECT now() AS now")


def _rows(stack: ChatStack, statement: Any, parameters: Mapping[str, Any]) -> list[Row[Any]]:
    async def asked() -> list[Row[Any]]:
        database = Database(database_url(stack.settings, stack.secrets))
        try:
            return list(await database.rows(statement, parameters))
        finally:
            await database.close()

    return asyncio.run(asked())


def now(stack: ChatStack) -> datetime:
    found: datetime = _rows(stack, _NOW, {})[0].now
    return found


def parts_since(stack: ChatStack, since: datetime) -> list[dict[str, float | None]]:
    """Of each run that ended well: `first_token_ms`, `planned_ms`, `model_ms`."""
    return [
        {name: float(value) if value is not None else None for name, value in row._asdict().items()}
        for row in _rows(stack, _PARTS, {"since": since})
    ]


def kept_since(stack: ChatStack, since: datetime) -> tuple[int, int]:
    """Turns that ended well, and those of them that Prefect shows ended."""
    row = _rows(stack, _KEPT, {"since": since})[0]
    return int(row.kept), int(row.recorded)
