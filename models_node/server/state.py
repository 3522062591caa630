"""What the routes share: one object on `app.state`, made by `app` and given to each route."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends, Request

from models_node.catalogue import Catalogue, ModelEntry, missing_weights
from models_node.errors import model_not_found
from models_node.residency.decide import State
from models_node.residency.messages import ModelStatus
from models_node.residency.pool import Pool
from models_node.routing.router import Router
from models_node.server.proxy import Forward, Proxy
from models_node.server.requests import Body, routing_query
from stack.settings import Settings
from wire.context import current
from wire.errors import Forbidden
from wire.health import Readiness
from wire.principals import LOCAL

OPERATORS = frozenset({"operator", "services", LOCAL.name})


@dataclass(frozen=True, slots=True)
class ModelServer:
    settings: Settings
    catalogue: Catalogue
    pool: Pool
    router: Router
    proxy: Proxy
    budget_bytes: int

    @property
    def home(self) -> Path:
        return self.settings.home

    def entry(self, model: str) -> ModelEntry:
        """Raises NotFound naming the known ids."""
        found = self.catalogue.get(model)
        if found is None:
            raise model_not_found(model, self.catalogue.ids)
        return found

    async def forward(self, body: Body, path: str, operation: str, *, arrived: float | None = None) -> Forward:
        """Routes the request; the body is addressed to whoever will answer. Raises ApiError."""
        route = await self.router.route(routing_query(body))
        entry = self.entry(route.model)
        name = (entry.remote_model or entry.id) if entry.remote else entry.id
        at = time.perf_counter() if arrived is None else arrived
        return Forward(path, operation, body.addressed_to(name), body.stream, route, entry, at)

    def impossible(self, entry: ModelEntry) -> str | None:
        """Why the model could never be loaded here, or None."""
        if entry.memory_bytes > self.budget_bytes:
            return f"it needs {entry.memory_bytes} bytes, the budget is {self.budget_bytes}"
        return missing_weights(entry, self.home)

    async def readiness(self) -> Readiness:
        """Ready when at least one model answers or can be loaded. Each model's state is told."""
        checks: dict[str, str] = {}
        answering = False
        for status in await self.pool.status():
            told = self._check(status)
            answering = answering or told == "ok"
            checks[status.model] = told
        return Readiness(answering, checks)

    def _check(self, status: ModelStatus) -> str:
        if status.state is State.READY or status.remote:
            return "ok"
        if problem := self.impossible(self.entry(status.model)):
            return problem
        # After a failed load it has yet to show that it can.
        return f"the last load failed: {status.load_failure}" if status.load_failure else "ok"


def of_request(request: Request) -> ModelServer:
    return cast(ModelServer, request.app.state.models)


Server = Annotated[ModelServer, Depends(of_request)]


def operators_only() -> None:
    """Raises Forbidden for principals that may not load and unload models."""
    if current().principal.name not in OPERATORS:
        raise Forbidden("only operators and services may load and unload models")
