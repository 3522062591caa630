"""Readiness, the older `/api/health`, and `/api/models`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request

from services_node.chat_api.parts import Parts, parts_of
from wire.errors import ApiError
from wire.health import Readiness

CHECK_SECONDS = 3.0

router = APIRouter(tags=["health"])


async def readiness(parts: Parts) -> Readiness:
    """Ready when Postgres answers and the model server can answer or load a model. Others being away is only said."""
    database, models = await asyncio.gather(_database(parts), _models(parts))
    prefect = {"up": "ok", "starting": "starting", "down": "away: turns go on and are recorded later"}
    tools = "away: chats go on without tools" if parts.tools.away else "ok"
    checks = {"database": database, "models": models, "prefect": prefect[parts.flows.state], "tools": tools}
    return Readiness(database == "ok" and models == "ok", checks)


async def _database(parts: Parts) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await parts.runs.ping()
    except ApiError as error:
        return error.detail
    except TimeoutError:
        return "the database did not answer in time"
    return "ok"


async def _models(parts: Parts) -> str:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return "ok" if await parts.models.ready() else "no model can answer or be loaded"
    except TimeoutError:
        return "the model server did not answer in time"


@router.get("/api/health")
async def health(request: Request) -> dict[str, Any]:
    """The shape older clients know. `/health/ready` is for machines."""
    state = await readiness(parts_of(request))
    return {
        "status": "healthy" if state.ready else "degraded",
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "services": state.checks,
    }


@router.get("/api/models", tags=["models"])
async def models(request: Request) -> dict[str, Any]:
    """The model server's models, as OpenAI lists them."""
    return {"object": "list", "data": await parts_of(request).models.models()}
