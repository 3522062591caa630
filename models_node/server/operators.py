"""What operators ask of the model server: loading, unloading, and what is in memory now."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request

from models_node.residency.decide import State
from models_node.residency.messages import ModelStatus
from models_node.server.client import ClientGone, while_connected
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
    """Answers when none of its processes is left. Requests in flight are finished first, new ones wait and load it
    again."""
    operators_only()
    entry = server.entry(model)
    await server.pool.unload(entry.id)
    return {"model": entry.id, "status": "available"}


@router.get("/stats")
async def stats(server: Server) -> dict[str, Any]:
    """How things stand; sizes in bytes, times in seconds. Socket paths are told to operators only.

    `memory_bytes` of an engine is what the ledger charges for it; `estimated_…` what its next load would reserve,
    `measured_…` what it was last seen to hold.
    """
    statuses = server.pool.status()
    ledger = server.pool.ledger()
    trusted = current().principal.name in OPERATORS
    living = [status for status in statuses if status.state is not State.COLD and not status.remote]
    return {
        "models_loaded": [status.model for status in statuses if status.state is State.READY and not status.remote],
        "models_available": list(server.catalogue.ids),
        "engines": [described(status, trusted) for status in living],
        "memory": {
            "budget_bytes": ledger.budget_bytes,
            "used_bytes": ledger.held_bytes,
            "shared_bytes": ledger.shared_bytes,
            "free_bytes": ledger.free_bytes,
            "holders": [
                {
                    "holder": holder.holder,
                    "bytes": holder.held_bytes,
                    "expires_seconds": round(holder.expires_seconds, 1),
                }
                for holder in ledger.holders
            ],
        },
        "waiting": sum(status.waiting for status in statuses),
        "models": [counted(status) for status in statuses],
        "routing_info": {"enabled": True, "total_experts": len(statuses)},
        "config": config(server),
    }


def described(status: ModelStatus, trusted: bool) -> dict[str, Any]:
    """An engine in memory."""
    return {
        "model": status.model,
        "state": status.state.value,
        "pid": status.pid,
        "socket": str(status.socket) if trusted and status.socket else None,
        "memory_bytes": status.charged_bytes,
        "measured_memory_bytes": status.measured_bytes,
        "in_flight": status.in_flight,
        "waiting": status.waiting,
        "last_used": last_used(status),
        "loads": status.loads,
        "last_load_seconds": status.last_load_seconds,
        "verified": status.verified,
        "wedged": status.wedged,
        "draining": status.draining,
        "stuck": status.stuck,
    }


def counted(status: ModelStatus) -> dict[str, Any]:
    """A model, in memory or not."""
    return {
        "model": status.model,
        "state": status.state.value,
        "remote": status.remote,
        "pinned": status.pinned,
        "memory": {
            "estimated_bytes": status.estimated_bytes,
            "measured_bytes": status.measured_bytes,
            "charged_bytes": status.charged_bytes,
        },
        "in_flight": by_class(status.in_flight, status.in_flight_batch),
        "waiting": by_class(status.waiting, status.waiting_batch),
        "oldest_wait_seconds": round(status.oldest_wait_seconds, 3),
        "expected_wait_seconds": round(status.wait_seconds, 3),
        "requests": status.requests,
        "loads": status.loads,
        "wakes": status.wakes,
        "evictions": status.evictions,
        "last_load_seconds": status.last_load_seconds,
        "mean_load_seconds": status.mean_load_seconds,
        "last_used": last_used(status),
        "last_error": status.last_error,
        "load_failure": status.load_failure,
        "breaker": {"open": status.breaker_seconds > 0, "seconds": round(status.breaker_seconds, 1),
                    "last_words": status.last_words},
    }  # fmt: skip


def by_class(every: int, batch: int) -> dict[str, int]:
    return {"interactive": every - batch, "batch": batch}


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
