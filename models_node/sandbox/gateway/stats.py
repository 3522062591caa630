"""What the gateway tells of itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from models_node.sandbox.gateway.metrics import TALLY
from models_node.sandbox.gateway.records import Sandbox, State
from models_node.sandbox.gateway.sandboxes import Sandboxes


def stats(sandboxes: Sandboxes) -> dict[str, Any]:
    """`/stats`: bytes, seconds, and what was counted since the start."""
    core, now = sandboxes.core, time.monotonic()
    known = list(core.sandboxes.values())
    count = core.count()
    return {
        "unavailable": sandboxes.unavailable,
        "sandboxes": [_one(sandbox, now) for sandbox in known],
        "states": {state.value: count[state] for state in State},
        "pool": {"warm": count[State.WARM], "warming": count[State.WARMING], "target": core.limits.pool_size},
        "memory": {
            "measured_bytes": sum(sandbox.measured_bytes for sandbox in known),
            "charged_bytes": core.holding.charged(known),
            "base_bytes": core.holding.base_bytes,
            "held_bytes": core.holding.held,
            "limit_bytes": core.limits.total_bytes,
            "ledger_reachable": core.holding.reachable,
            "refusal": core.holding.refusal,
        },
        "creations": {
            "waiting": len(core.waiting),
            "done": len(sandboxes.creation_seconds),
            "p50_seconds": quantile(sandboxes.creation_seconds, 0.5),
            "p95_seconds": quantile(sandboxes.creation_seconds, 0.95),
            "last_failure": core.launch_failure,
        },
        "executions": TALLY.executions,
        "refusals": dict(TALLY.refusals),
    }


def gauges(sandboxes: Sandboxes) -> Mapping[str, float]:
    core = sandboxes.core
    known = list(core.sandboxes.values())
    count = core.count()
    return {f"state:{state.value}": float(count[state]) for state in State} | {
        "waiting_creations": float(len(core.waiting)),
        "measured_bytes": float(sum(sandbox.measured_bytes for sandbox in known)),
        "held_bytes": float(core.holding.held),
    }


def quantile(seconds: Any, share: float) -> float | None:
    """Of what is remembered; None when nothing is."""
    ordered = sorted(seconds)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 6) if ordered else None


def _one(sandbox: Sandbox, now: float) -> dict[str, Any]:
    claimed = sandbox.claim is not None and sandbox.state is State.RUNNING
    return {
        "id": sandbox.id,
        "state": sandbox.state.value,
        "age_seconds": round(now - sandbox.made_at, 3),
        "ends_in_seconds": round(sandbox.ends_at - now, 3) if claimed else None,
        "owner": sandbox.claim.owner if sandbox.claim else None,
        "memory_bytes": sandbox.measured_bytes or None,
    }
