"""What operators ask of the model server: loading, unloading, and what is in memory now."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request

from models_node.residency.decide import State
from models_node.residency.messages import ModelStatus
from models_node.server.proxy import ClientGone, while_connected
from models_node.server.state import OPERATORS, ModelServer, Server, operators_only
from wire.context import current
from wire.errors import InvalidRequest

router = APIRouter(tags=["operators"])


@router.post("/models/{model}/load")
async def load(model: str, server: Server, request: Request) -> dict[str, Any]:
    """Answers when the model is loaded. Evicts as a request for it would; given up when the client goes away."""
    operators_only()
    entry = server.entry(model)
    try:
        lease = await while_connected(request.receive, server.pool.load(entry.id))
    except ClientGone:
        raise InvalidRequest("the client went away before the model was loaded", code="client_gone") from None
    return {"model": entry.id, "status": "loaded", "load_seconds": round(lease.load_seconds, 3)}


@router.post("/models/{model}/unload")
async def unload(model: str, server: Server) -> dict[str, Any]:
    """Answers when none of its processes is left; 409 while requests are in flight."""
    operators_only()
    entry = server.entry(model)
    await server.pool.unload(entry.id)
    return {"model": entry.id, "status": "available"}


@router.get("/stats")
async def stats(server: Server) -> dict[str, Any]:
    """The engines in memory, each with its process; sizes in bytes, times in seconds.

    `memory_bytes` is what the budget counts, `measured_memory_bytes` what its processes take now (PSS). Socket paths
    are told to operators only.
    """
    statuses = await server.pool.status()
    trusted = current().principal.name in OPERATORS
    living = [status for status in statuses if status.state is not State.COLD and not status.remote]
    return {
        "models_loaded": [status.model for status in statuses if status.state is State.READY and not status.remote],
        "models_available": list(server.catalogue.ids),
        "engines": await asyncio.gather(*(described(status, trusted) for status in living)),
        "memory": {"budget_bytes": server.budget_bytes, "used_bytes": sum(status.memory_bytes for status in living)},
        "waiting": sum(status.waiting for status in statuses),
        "models": [counted(status) for status in statuses],
        "routing_info": {"enabled": False, "total_experts": len(statuses)},
        "config": config(server),
    }


async def described(status: ModelStatus, trusted: bool) -> dict[str, Any]:
    measured = await asyncio.to_thread(status.engine.memory_bytes) if status.engine else None
    return {
        "model": status.model,
        "state": status.state.value,
        "pid": status.pid,
        "socket": str(status.socket) if trusted and status.socket else None,
        "memory_bytes": status.memory_bytes,
        "measured_memory_bytes": measured,
        "in_flight": status.in_flight,
        "waiting": status.waiting,
        "last_used": last_used(status),
        "loads": status.loads,
        "last_load_seconds": status.last_load_seconds,
    }


def counted(status: ModelStatus) -> dict[str, Any]:
    return {
        "model": status.model,
        "state": status.state.value,
        "requests": status.requests,
        "loads": status.loads,
        "last_used": last_used(status),
        "last_error": status.last_error,
    }


def last_used(status: ModelStatus) -> str | None:
    """When, in UTC."""
    if status.idle_seconds is None:
        return None
    return (datetime.now(UTC) - timedelta(seconds=status.idle_seconds)).isoformat(timespec="milliseconds")


def config(server: ModelServer) -> dict[str, Any]:
    """The keys older clients read."""
    return {
        "lazy_loading": {"enabled": True, "memory_budget_bytes": server.budget_bytes},
        "server": {"default_model": server.catalogue.default},
        "enable_consensus": False,
    }
