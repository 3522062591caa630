"""The router in service: decisions in one thread beside the event loop, one after the other.

A decision takes some milliseconds of computing, most of it in ONNX Runtime, outside Python's lock: too long for the
event loop, too short to share out. Encoder and head load in that thread first, while the server starts; requests that
come in the meantime wait for them. Where they cannot be loaded, or too many requests wait, facts and the default
decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from models_node.catalogue import Catalogue
from models_node.errors import RouterUnavailable
from models_node.routing.choice import Bounds
from models_node.routing.decide import Decider, Decision, Rules
from models_node.routing.head import PACKAGED_HEAD, load_head
from models_node.routing.language import EldIdentifier, LanguageIdentifier, NoIdentifier
from models_node.routing.meaning import Limits, Meaning
from models_node.routing.router import Route, RoutingQuery
from stack.settings import Settings

log = logging.getLogger("models_node.routing")

Waits = Callable[[], Mapping[str, float]]


def nothing_known() -> Mapping[str, float]:
    return {}


class SemanticRouter:
    """waits: seconds until each model could begin to answer; asked once a decision, from the event loop."""

    def __init__(
        self,
        catalogue: Catalogue,
        rules: Rules,
        load: Callable[[], Meaning],
        queue_limit: int,
        *,
        waits: Waits = nothing_known,
        identifier: Callable[[], LanguageIdentifier] | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._rules = rules
        self._load = load
        self._queue_limit = queue_limit
        self._waits = waits
        self._make_identifier = identifier or identifier_of_package
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="routing")
        self._loaded: Future[Meaning] | None = None
        self._waiting = 0
        self._decider = Decider(catalogue, rules, NoIdentifier())

    def start(self) -> None:
        """Begins to load encoder and head, once."""
        if self._loaded is None:
            self._loaded = self._thread.submit(self._load_all)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def route(self, query: RoutingQuery) -> Route:
        return (await self.decision(query)).route

    async def decision(self, query: RoutingQuery) -> Decision:
        """The route and what led to it. Raises ApiError as Router.route does."""
        if not query.left_to_us:
            return self._decider.decide(query, {}, None)
        if self._waiting >= self._queue_limit:
            return self._decider.decide(query, {}, None)
        self.start()
        waits = dict(self._waits())
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._decide, query, waits)
        finally:
            self._waiting -= 1

    def problem(self) -> str | None:
        """Why the meaning is not looked at, for readiness and logs; None while loading and when all is well."""
        if self._loaded is None or not self._loaded.done() or self._loaded.cancelled():
            return None
        failure = self._loaded.exception()
        return str(failure) if failure else None

    def _decide(self, query: RoutingQuery, waits: Mapping[str, float]) -> Decision:
        loaded = self._loaded
        assert loaded is not None  # noqa: S101 - loading was put into this thread before
        meaning = loaded.result() if loaded.exception() is None else None
        return self._decider.decide(query, waits, meaning)

    def _load_all(self) -> Meaning:
        self._decider = Decider(self._catalogue, self._rules, self._make_identifier())
        try:
            return self._load()
        except RouterUnavailable as error:
            log.error("routing without meaning: %s", error)
            raise
        finally:
            return_memory()


def return_memory() -> None:
    """Gives back what loading took and no longer needs, some 200 MB that the C library would keep. Linux with glibc."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def identifier_of_package() -> LanguageIdentifier:
    try:
        return EldIdentifier()
    except ImportError as error:
        log.error("routing without a language identifier: %s", error)
        return NoIdentifier()


def load_from_packages(settings: Settings) -> Meaning:
    """The packaged encoder with the team's own head where there is one, else ours. Raises RouterUnavailable."""
    try:
        from models_node.routing.encoder import load_encoder
    except ImportError as error:
        raise RouterUnavailable(f"a package is missing: {error}") from None
    encoder = load_encoder(Limits(settings.routing_max_tokens, settings.routing_threads))
    own = own_head(settings)
    return Meaning(encoder, load_head(own if own.exists() else PACKAGED_HEAD, encoder.name))


def own_head(settings: Settings) -> Path:
    """Where `routes train` puts the head of a team that has texts of its own."""
    return settings.home / "routing" / "head.npz"


def rules_of(settings: Settings) -> Rules:
    bounds = Bounds(
        sticky_margin=settings.routing_sticky_margin,
        warm_band=settings.routing_warm_band,
        warm_half_seconds=settings.routing_warm_half_seconds,
        warm_least_seconds=settings.routing_warm_least_seconds,
    )
    return Rules(
        bounds,
        settings.routing_language_lead,
        settings.routing_characters_per_token,
        settings.routing_least_answer_tokens,
    )


def router_of(settings: Settings, catalogue: Catalogue, waits: Waits = nothing_known) -> SemanticRouter:
    """The router as the settings say; it loads nothing before `start` or the first request."""

    def load() -> Meaning:
        return load_from_packages(settings)

    return SemanticRouter(catalogue, rules_of(settings), load, settings.routing_queue_limit, waits=waits)
