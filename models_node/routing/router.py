"""The contract of routing: a query of plain values in, a `Route` with its reason out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

# What clients send when they leave the choice to us (`default` is what the oldest ones say).
AUTO = frozenset({"", "auto", "default"})


@dataclass(frozen=True, slots=True)
class RoutingQuery:
    """model: as the client named it, None if it did not. texts: the user's turns, oldest first. images: in the whole
    request. tools: whether it offers any. characters: of all its text, whoever said it. answer_tokens: the longest
    answer asked for, None when nothing was said."""

    model: str | None
    texts: tuple[str, ...] = ()
    images: int = 0
    tools: bool = False
    characters: int = 0
    answer_tokens: int | None = None

    @property
    def left_to_us(self) -> bool:
        return self.model is None or self.model.strip().lower() in AUTO


@dataclass(frozen=True, slots=True)
class Route:
    """model: the chosen id. label: the kind of question seen, or the model's domain. confidence: the label's
    probability, 0 to 1, None when nothing was measured. reason: one word for headers (docs/routing.md lists them).
    scores: by model id, empty when nothing was measured."""

    model: str
    label: str
    reason: str
    confidence: float | None = None
    scores: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))


class Router(Protocol):
    async def route(self, query: RoutingQuery) -> Route:
        """The choice for `query`. Raises ApiError: 404 for an unknown id, 422 when no model sees its images."""
        ...
