"""Hard facts of a request against the catalogue: who can answer it at all. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from models_node.catalogue import Catalogue, ModelEntry
from models_node.errors import no_vision_model
from models_node.routing.router import RoutingQuery


@dataclass(frozen=True, slots=True)
class Eligible:
    """entries: who can answer, foremost first; never empty. excluded: which fact shut out each of the others."""

    entries: tuple[ModelEntry, ...]
    excluded: dict[str, str]


def estimated_tokens(query: RoutingQuery, characters_per_token: float, least_answer_tokens: int) -> int:
    """Tokens of context the request needs: its text, and room for the answer it asks for or a short one."""
    answer = query.answer_tokens if query.answer_tokens is not None else least_answer_tokens
    return math.ceil(query.characters / characters_per_token) + answer


def eligible(catalogue: Catalogue, query: RoutingQuery, needed_tokens: int) -> Eligible:
    """Who can answer. A fact that would leave nobody is passed over (the engine then says what is wrong), except for
    images: raises ApiError 422 `no_vision_model` where nobody sees."""
    excluded: dict[str, str] = {}
    chatting = [entry for entry in catalogue.models if not entry.capabilities.embeddings]
    entries = sorted(chatting or catalogue.models, key=lambda entry: -entry.priority)

    def keep(fact: str, fits: Callable[[ModelEntry], bool]) -> bool:
        fitting = [entry for entry in entries if fits(entry)]
        if not fitting:
            return False
        excluded.update({entry.id: fact for entry in entries if entry not in fitting})
        entries[:] = fitting
        return True

    if query.images and not keep("images", lambda entry: entry.capabilities.vision):
        raise no_vision_model("no model of this node sees images")
    if query.tools:
        keep("tools", lambda entry: entry.capabilities.tools)
    if not keep("length", lambda entry: entry.context_length >= needed_tokens):
        longest = max(entry.context_length for entry in entries)
        keep("length", lambda entry: entry.context_length == longest)
    return Eligible(tuple(entries), excluded)
