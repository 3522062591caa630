"""The model server put together: catalogue, router, residency and routes behind the shared border."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI

from models_node.catalogue import Catalogue, read_catalogue
from models_node.errors import CatalogueError
from models_node.residency.engine import EngineLauncher, VllmLauncher
from models_node.residency.limits import ResidencyLimits
from models_node.residency.pool import Pool
from models_node.residency.probe import OneTokenProber
from models_node.routing.semantic import SemanticRouter, router_of
from models_node.server import memory, metrics, older_clients, openai, operators, tokens
from models_node.server.backends import Backends
from models_node.server.exchange import Proxy, ReplyLimits
from models_node.server.state import ModelServer
from models_node.server.waiting import WaitingTimes
from models_node.weights import catalogue_path
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import load_topology
from wire.border import install_border
from wire.health import Readiness

SERVICE = "model-server"
CUT_BEFORE_END_SECONDS = 2  # what a cut stream gets to tell its error before the border ends the connection

log = logging.getLogger("models_node.server")


class Events:
    """What residency tells: metrics, and the connections of engines that are gone."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends

    def loaded(self, model: str, seconds: float) -> None:
        metrics.LOADS.labels(model).observe(seconds)

    def load_failed(self, model: str) -> None:
        metrics.LOAD_FAILURES.labels(model).inc()

    def evicted(self, model: str) -> None:
        metrics.EVICTIONS.labels(model).inc()

    def wedged(self, model: str) -> None:
        metrics.WEDGED.labels(model).inc()

    def gone(self, model: str, socket: Path | None) -> None:
        if socket is not None:
            self._backends.forget(socket)


def create_app(settings: Settings, secrets: Secrets | None) -> FastAPI:
    """The application over the settings' catalogue and real engines. Raises ConfigurationError."""
    catalogue = read_catalogue(catalogue_path(settings))
    check_destinations(catalogue, settings)
    return assemble(settings, secrets, catalogue, VllmLauncher(settings, catalogue))


def assemble(settings: Settings, secrets: Secrets | None, catalogue: Catalogue, launcher: EngineLauncher) -> FastAPI:
    """The application over any launcher of engines."""
    budget = settings.models_memory_budget_bytes or catalogue.limits.memory_budget
    backends = Backends()
    limits = ResidencyLimits(
        budget_bytes=budget,
        queue_limit=settings.model_queue_limit,
        queue_timeout_seconds=settings.model_queue_timeout_seconds,
        patience_seconds=settings.model_patience_seconds,
        batch_ageing_seconds=settings.model_batch_ageing_seconds,
        min_residence_seconds=settings.model_min_residence_seconds,
        quiet_seconds=settings.engine_quiet_seconds,
        measure_seconds=settings.engine_measure_seconds,
        sleep_budget_bytes=catalogue.limits.sleep_budget or 0,
        holders_limit=settings.memory_holders_limit,
        hold_wait_seconds=settings.memory_hold_wait_seconds,
    )
    prober = OneTokenProber(settings.engine_probe_timeout_seconds)
    pool = Pool(catalogue.models, launcher, limits, Events(backends), prober)
    metrics.STANDING.watch(pool.status, pool.ledger)
    waiting = WaitingTimes(settings.stream_status_wait_seconds, settings.stream_comment_seconds)
    proxy = Proxy(pool, backends, ReplyLimits(waiting, settings.client_stall_seconds))
    router = router_of(settings, catalogue, pool.waits)
    server = ModelServer(settings, catalogue, pool, router, proxy, budget)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Here and not in the factory: the port is ours by now, so these are no living server's engines.
        ended = await asyncio.to_thread(launcher.prepare)
        if ended:
            log.warning("ended engines that an earlier model server left", extra={"pids": ended})
        pool.start()
        router.start()
        winding_down = asyncio.create_task(wind_down(app, server))
        try:
            yield
        finally:
            winding_down.cancel()
            await pool.stop()
            router.close()
            await backends.close()
            launcher.close()

    app = FastAPI(title="Capibara6 model server", lifespan=lifespan)
    app.state.models = server
    app.state.tokens = tokens.TokenCounter(settings.home, settings.routing_characters_per_token)
    for routes in (
        openai.answering,
        openai.router,
        tokens.router,
        operators.router,
        memory.router,
        older_clients.router,
    ):
        app.include_router(routes)
    install_border(
        app,
        service=SERVICE,
        settings=settings,
        secrets=secrets,
        allowed={"operator", "services", "sandbox", "n8n"},
        confined={"sandbox": (memory.PREFIX,)},
        readiness=lambda: with_routing(server, router),
        openai_paths=("/",),
    )
    return app


async def with_routing(server: ModelServer, router: SemanticRouter) -> Readiness:
    """The server's readiness, and what is wrong with routing: it goes on without its meaning, so it stays ready."""
    ready = await server.readiness()
    return Readiness(ready.ready, {**ready.checks, "routing": router.problem() or "ok"})


async def wind_down(app: FastAPI, server: ModelServer) -> None:
    """At the stop signal: nobody new, time for the answers being given, then each of the rest ends with an error."""
    stopping: asyncio.Event | None = getattr(app.state, "stopping", None)
    if stopping is None:
        return
    await stopping.wait()
    server.pool.refuse()
    if not await server.proxy.drained(max(0.0, server.settings.graceful_stop_seconds - CUT_BEFORE_END_SECONDS)):
        server.proxy.cut()


def check_destinations(catalogue: Catalogue, settings: Settings) -> None:
    """This node calls nothing but what its topology lists. Raises CatalogueError naming the remote model."""
    topology = load_topology(settings)
    allowed = topology.nodes["models-europe"].allowed_destinations
    for entry in catalogue.models:
        if entry.remote_url is None:
            continue
        target = urlsplit(entry.remote_url)
        if not {target.hostname, target.netloc} & set(allowed):
            raise CatalogueError(
                f"{catalogue_path(settings)}: model {entry.id}: remote_url: {target.netloc} is not among the "
                f"allowed_destinations of models-europe",
                f"list it in {topology.source}",
            )
