"""What the routes share: one object on `app.state`, made by `app` and given to each route."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from models_node.catalogue import Catalogue, ModelEntry, missing_weights
from models_node.errors import model_not_found, no_embedding_model, wrong_kind_of_model
from models_node.residency.decide import Priority, State
from models_node.residency.messages import ModelStatus
from models_node.residency.pool import Pool
from models_node.routing.router import AUTO, Route, Router
from models_node.server import metrics
from models_node.server.exchange import VLLM_PRIORITIES, Forward, Proxy
from models_node.server.requests import Body, check_length, routing_query
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

    async def forward(
        self, body: Body, path: str, operation: str, *, priority: Priority, arrived: float, embeds: bool = False
    ) -> Forward:
        """Routes the request; the body is addressed to whoever will answer. Raises ApiError.

        embeds: it asks for embeddings, which models of their own make.
        """
        route = self.route_embeddings(body) if embeds else await self.router.route(routing_query(body))
        entry = self.entry(route.model)
        if entry.capabilities.embeddings is not embeds:
            others = [e.id for e in self.catalogue.models if e.capabilities.embeddings is embeds]
            raise wrong_kind_of_model(entry.id, embeds=not embeds, others=others)
        check_length(body, entry)
        metrics.ROUTES.labels(entry.id, route.label, route.reason).inc()
        name = (entry.remote_model or entry.id) if entry.remote else entry.id
        fields: dict[str, Any] = {}
        if embeds and not entry.remote and (priority is Priority.BATCH or "priority" in body.content):
            fields["priority"] = VLLM_PRIORITIES[priority]  # for these vLLM does not look at the header
        return Forward(
            path, operation, body.addressed_to(name, **fields), body.stream and not embeds, route, entry, arrived,
            priority,
        )  # fmt: skip

    def route_embeddings(self, body: Body) -> Route:
        """The model asked for, else the most important one that embeds."""
        if body.model is not None and body.model.strip().lower() not in AUTO:
            entry = self.entry(body.model)
            return Route(entry.id, entry.domain, "asked")
        embedding = [entry for entry in self.catalogue.models if entry.capabilities.embeddings]
        if not embedding:
            raise no_embedding_model()
        entry = max(embedding, key=lambda entry: entry.priority)
        return Route(entry.id, entry.domain, "default")

    def impossible(self, entry: ModelEntry) -> str | None:
        """Why the model could never be loaded here, or None."""
        if entry.memory_bytes > self.budget_bytes:
            return f"it needs {entry.memory_bytes} bytes, the budget is {self.budget_bytes}"
        return missing_weights(entry, self.home)

    async def readiness(self) -> Readiness:
        """Whether a request would be served now: some model answers or can be loaded, no engine is wedged, and nobody
        has waited for a place for too long. Each model's state is told.
        """
        statuses = self.pool.status()
        checks = {status.model: self._check(status) for status in statuses}
        wedged = any(status.wedged for status in statuses)
        late = any(status.oldest_wait_seconds > self.settings.health_queue_age_seconds for status in statuses)
        return Readiness("ok" in checks.values() and not wedged and not late, checks)

    def _check(self, status: ModelStatus) -> str:
        if status.wedged:
            return "wedged: its engine takes work and says nothing; it is restarted"
        if status.oldest_wait_seconds > self.settings.health_queue_age_seconds:
            return f"a request has waited {status.oldest_wait_seconds:.0f} s for a place"
        if status.state is State.READY or status.remote:
            return "ok"
        if problem := self.impossible(self.entry(status.model)):
            return problem
        if status.breaker_seconds > 0:
            return f"left alone for {status.breaker_seconds:.0f} s after failing again and again: {status.last_words}"
        # After a failed load it has yet to show that it can.
        return f"the last load failed: {status.load_failure}" if status.load_failure else "ok"


def of_request(request: Request) -> ModelServer:
    return cast(ModelServer, request.app.state.models)


async def _depend(request: Request) -> ModelServer:
    """Async, for FastAPI hands what is not to a thread."""
    return of_request(request)


Server = Annotated[ModelServer, Depends(_depend)]


def operators_only() -> None:
    """Raises Forbidden for principals that may not load and unload models."""
    if current().principal.name not in OPERATORS:
        raise Forbidden("only operators and services may load and unload models")
