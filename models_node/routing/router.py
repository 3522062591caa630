"""Which model answers.

This first router follows what was asked, and otherwise takes the catalogue's default (or, for images, the first model
by priority that sees them). The contract is made for the semantic router to come: same query in, same `Route` out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

from models_node.catalogue import Catalogue
from models_node.errors import model_not_found, no_vision_model

# What clients send when they leave the choice to us (`default` is what the oldest ones say).
AUTO = frozenset({"", "auto", "default"})


@dataclass(frozen=True, slots=True)
class RoutingQuery:
    """model: as the client named it, None if it did not. texts: what the user said, oldest first."""

    model: str | None
    texts: tuple[str, ...] = ()
    images: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """model: the chosen id. label: the kind of question seen (the model's domain here). confidence: 0 to 1, None when
    nothing was measured. reason: one word for headers. scores: by model id, empty when nothing was measured."""

    model: str
    label: str
    reason: str
    confidence: float | None = None
    scores: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


class Router(Protocol):
    async def route(self, query: RoutingQuery) -> Route:
        """The choice for `query`. Raises ApiError: 404 for an unknown id, 400 when no model sees its images."""
        ...


class DefaultRouter:
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def route(self, query: RoutingQuery) -> Route:
        if query.model is None or query.model.strip().lower() in AUTO:
            return self._choose(query)
        entry = self._catalogue.get(query.model)
        if entry is None:
            raise model_not_found(query.model, self._catalogue.ids)
        if query.images and not entry.capabilities.vision:
            raise no_vision_model(f"model {entry.id!r} sees no images{self._who_does()}")
        return Route(entry.id, entry.domain, "asked")

    def _choose(self, query: RoutingQuery) -> Route:
        default = self._catalogue.get(self._catalogue.default)
        assert default is not None  # noqa: S101 - the catalogue checked it
        if not query.images or default.capabilities.vision:
            return Route(default.id, default.domain, "default")
        seeing = self._seeing()
        if not seeing:
            raise no_vision_model("no model of this node sees images")
        entry = self._catalogue.get(seeing[0])
        assert entry is not None  # noqa: S101
        return Route(entry.id, entry.domain, "images")

    def _seeing(self) -> list[str]:
        entries = [entry for entry in self._catalogue.models if entry.capabilities.vision]
        return [entry.id for entry in sorted(entries, key=lambda entry: -entry.priority)]

    def _who_does(self) -> str:
        seeing = self._seeing()
        return f"; these do: {', '.join(seeing)}" if seeing else ", and no other model of this node does"
