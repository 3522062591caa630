"""The gateway put together: sandboxes, control plane and data plane behind the shared border."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse

from models_node.sandbox.gateway import control, metrics, shapes
from models_node.sandbox.gateway.dataplane import DataPlane, names_sandbox
from models_node.sandbox.gateway.egress_rules import EgressRules
from models_node.sandbox.gateway.launching import Launcher
from models_node.sandbox.gateway.limits import LifecycleLimits
from models_node.sandbox.gateway.memory import NodeMemory
from models_node.sandbox.gateway.passage import PassageLimits
from models_node.sandbox.gateway.sandboxes import Sandboxes
from models_node.sandbox.gateway.stats import gauges, stats
from stack.errors import ConfigurationError
from stack.secrets import Secrets
from stack.settings import Settings
from wire.border import install_border
from wire.context import current
from wire.errors import Forbidden
from wire.health import Readiness
from wire.principals import LOCAL

SERVICE = "sandbox-gateway"
RUN_FOLDER = "CAPIBARA6_SANDBOX_RUN"


def run_folder() -> Path:
    """The private folder for the sockets, which whoever starts the gateway made. Raises ConfigurationError."""
    name = os.environ.get(RUN_FOLDER, "")
    if not name or not Path(name).is_dir():
        raise ConfigurationError(f"{RUN_FOLDER} names no folder", "start it with `python -m models_node.sandbox`")
    return Path(name)


def assemble(
    settings: Settings, secrets: Secrets | None, connect: Callable[[], Launcher], memory: NodeMemory, folder: Path
) -> FastAPI:
    """The application over any launcher and ledger. connect: called once, in the application's event loop. folder: for
    the sockets; its path has to be short."""
    rules = EgressRules.parse(settings.sandbox_egress)
    sandboxes = Sandboxes(connect, memory, LifecycleLimits.of(settings), rules, folder)
    plane = control.ControlPlane(sandboxes, settings)
    metrics.STANDING.watch(lambda: gauges(sandboxes))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sandboxes.start()
        winding_down = asyncio.create_task(_wind_down(app, sandboxes))
        try:
            yield
        finally:
            winding_down.cancel()
            await plane.keys.close()
            await sandboxes.stop()

    app = FastAPI(title="Capibara6 sandbox gateway", lifespan=lifespan)
    app.state.control = plane
    _own_routes(app, sandboxes)
    app.include_router(control.router)
    app.add_middleware(DataPlane, sandboxes=sandboxes, limits=PassageLimits.of(settings))

    async def readiness() -> Readiness:
        words = sandboxes.unavailable
        return Readiness(words is None, {"sandboxes": words or "ok"})

    install_border(
        app,
        service=SERVICE,
        settings=settings,
        secrets=secrets,
        allowed={"operator", "services"},
        readiness=readiness,
        render=shapes.error_response,
        unguarded=names_sandbox,
    )
    return app


def _own_routes(app: FastAPI, sandboxes: Sandboxes) -> None:
    @app.get("/health/ready", tags=["health"])
    async def ready() -> JSONResponse:
        """503 says why, and what mends it."""
        words = sandboxes.unavailable
        if words is None:
            return JSONResponse({"status": "ready", "service": SERVICE})
        reason, mend = split_mend(words)
        status = "starting" if sandboxes.starting else "unavailable"
        return JSONResponse({"status": status, "service": SERVICE, "reason": reason, "mend": mend}, 503)

    @app.get("/stats")
    async def tell(request: Request) -> JSONResponse:
        if current().principal not in (LOCAL,) and current().principal.name != control.OPERATOR:
            raise Forbidden("For operators.")
        return JSONResponse(stats(sandboxes))


async def _wind_down(app: FastAPI, sandboxes: Sandboxes) -> None:
    """At the stop signal: sandboxes end at once, and with them every stream that the server would wait for."""
    stopping: asyncio.Event | None = getattr(app.state, "stopping", None)
    if stopping is not None:
        await stopping.wait()
        await sandboxes.stop()


def split_mend(words: str) -> tuple[str, str]:
    """`why (mend)`, as this project writes it, in its two parts."""
    if words.endswith(")") and " (" in words:
        reason, _, mend = words[:-1].rpartition(" (")
        return reason, mend
    return words, ""
