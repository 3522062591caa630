"""Liveness and readiness: alive is a process that answers, ready is one that can do its work now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fastapi import FastAPI
from starlette.responses import JSONResponse


@dataclass(frozen=True, slots=True)
class Readiness:
    """ready: whether a request would be served now. checks: each part by name, "ok" or what is wrong with it."""

    ready: bool
    checks: dict[str, str] = field(default_factory=dict)


ReadinessCheck = Callable[[], Awaitable[Readiness]]


def install_health(app: FastAPI, service: str, readiness: ReadinessCheck) -> None:
    """Adds `GET /health/live` (200) and `GET /health/ready` (200 or 503)."""

    @app.get("/health/live", tags=["health"])
    async def live() -> dict[str, str]:
        return {"status": "alive", "service": service}

    @app.get("/health/ready", tags=["health"])
    async def ready() -> JSONResponse:
        state = await readiness()
        body = {"status": "ready" if state.ready else "not ready", "service": service, "checks": state.checks}
        return JSONResponse(body, 200 if state.ready else 503)
