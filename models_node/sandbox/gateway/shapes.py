"""What E2B's clients read: its shape of errors, sandboxes and metrics."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from typing import Any

from starlette.responses import JSONResponse

from models_node.sandbox.gateway.records import Sandbox
from models_node.sandbox.gateway.samples import Sample
from stack.settings import Settings
from wire.errors import ApiError

ENVD_VERSION = "0.6.4"  # selects the SDK's present paths
CLIENT_ID = "capibara6"
MIB = 2**20
# Set once: what is told of a sandbox's times does not wander when the wall clock is corrected.
WALL_OFFSET_SECONDS = time.time() - time.monotonic()


def error_body(error: ApiError) -> dict[str, Any]:
    return {"code": error.status, "message": error.detail, "error_code": error.code}


def error_response(error: ApiError) -> JSONResponse:
    return JSONResponse(error_body(error), error.status, error.headers)


def gone_response(sandbox_id: str, why: str | None) -> JSONResponse:
    """Drives `is_running() == False` in the SDK, which looks for "was not found"."""
    message = f"The sandbox was not found{f': {why}' if why else ''}"
    return JSONResponse({"sandboxId": sandbox_id, "message": message, "code": 502}, 502)


def port_response(sandbox_id: str, port: str) -> JSONResponse:
    """It runs, but nobody listens there."""
    message = "The sandbox is running but port is not open"
    return JSONResponse({"sandboxId": sandbox_id, "message": message, "port": port, "code": 502}, 502)


def wall(monotonic: float) -> datetime:
    return datetime.fromtimestamp(monotonic + WALL_OFFSET_SECONDS, UTC)


def stamp(monotonic: float) -> str:
    return wall(monotonic).isoformat().replace("+00:00", "Z")


def access(sandbox: Sandbox) -> dict[str, Any]:
    """What a creation or a connection is answered: the ways in."""
    assert sandbox.claim is not None  # noqa: S101
    return {
        "templateID": sandbox.claim.template,
        "sandboxID": sandbox.id,
        "clientID": CLIENT_ID,
        "alias": sandbox.claim.template,
        "envdVersion": ENVD_VERSION,
        "envdAccessToken": sandbox.claim.envd_token,
        "trafficAccessToken": sandbox.claim.traffic_token,
        "domain": None,
    }


def listed(sandbox: Sandbox, settings: Settings) -> dict[str, Any]:
    assert sandbox.claim is not None  # noqa: S101
    return {
        "templateID": sandbox.claim.template,
        "alias": sandbox.claim.template,
        "sandboxID": sandbox.id,
        "clientID": CLIENT_ID,
        "startedAt": stamp(sandbox.started_at),
        "endAt": stamp(sandbox.ends_at),
        "envdVersion": ENVD_VERSION,
        "cpuCount": max(1, math.ceil(settings.sandbox_cpus)),
        "memoryMB": settings.sandbox_memory_limit_bytes // MIB,
        "diskSizeMB": settings.sandbox_home_bytes // MIB,
        "state": "running",
        "metadata": sandbox.claim.metadata,
    }


def detail(sandbox: Sandbox, settings: Settings) -> dict[str, Any]:
    assert sandbox.claim is not None  # noqa: S101
    return listed(sandbox, settings) | {
        "envdAccessToken": sandbox.claim.envd_token,
        "allowInternetAccess": sandbox.claim.internet_asked,
        "domain": None,
    }


def metric(sample: Sample, settings: Settings) -> dict[str, Any]:
    """memCache and diskUsed are fields that clients insist on and that are not measured here: they are 0."""
    at = wall(sample.at)
    return {
        "timestamp": at.isoformat().replace("+00:00", "Z"),
        "timestampUnix": int(at.timestamp()),
        "cpuCount": max(1, math.ceil(settings.sandbox_cpus)),
        "cpuUsedPct": sample.cpu_percent,
        "memUsed": sample.memory_bytes,
        "memTotal": settings.sandbox_memory_limit_bytes,
        "memCache": 0,
        "diskUsed": 0,
        "diskTotal": settings.sandbox_home_bytes,
    }
