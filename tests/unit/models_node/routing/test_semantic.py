"""The router in service: off the event loop, one decision at a time, and useful without its encoder."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from models_node.errors import RouterUnavailable
from models_node.routing.meaning import Meaning
from models_node.routing.packaged import Floats
from models_node.routing.router import RoutingQuery
from models_node.routing.semantic import SemanticRouter
from tests.unit.models_node.routing.stand_ins import FIVE, RULES, SaidLanguage, WordEncoder, word_head

LIMIT_SECONDS = 10


@contextmanager
def router(load: Callable[[], Meaning], queue_limit: int = 8, **more: object) -> Iterator[SemanticRouter]:
    made = SemanticRouter(FIVE, RULES, load, queue_limit, identifier=SaidLanguage, **more)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        made.close()


def words() -> Meaning:
    return Meaning(WordEncoder(), word_head())


class HeldEncoder(WordEncoder):
    """Encodes when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go, self.begun = threading.Event(), threading.Event()

    def features(self, text: str) -> Floats:
        self.begun.set()
        assert self.let_go.wait(LIMIT_SECONDS)
        return super().features(text)


def missing() -> Meaning:
    raise RouterUnavailable("no encoder here")


async def test_it_loads_once_and_decides() -> None:
    loads: list[int] = []

    def load() -> Meaning:
        loads.append(1)
        return words()

    with router(load) as semantic:
        routes = await asyncio.gather(*(semantic.route(RoutingQuery(None, ("coding",))) for _ in range(5)))
    assert {(route.model, route.reason) for route in routes} == {("c", "meaning")}
    assert len(loads) == 1


async def test_without_an_encoder_facts_and_the_default_decide_and_readiness_says_why() -> None:
    with router(missing) as semantic:
        route = await semantic.route(RoutingQuery(None, ("coding",)))
        foreign = await semantic.route(RoutingQuery(None, ("fr: bonjour",)))
        assert semantic.problem() == "no encoder here"
    assert (route.model, route.reason, route.confidence, dict(route.scores)) == ("g", "default", None, {})
    assert (foreign.model, foreign.reason) == ("m", "language")


async def test_nothing_is_wrong_before_it_has_loaded() -> None:
    with router(words) as semantic:
        assert semantic.problem() is None


async def test_a_named_model_does_not_wait_for_loading() -> None:
    with router(missing) as semantic:
        assert (await semantic.route(RoutingQuery("c"))).reason == "asked"
        assert semantic.problem() is None


async def test_the_event_loop_goes_on_while_it_computes() -> None:
    encoder = HeldEncoder()
    with router(lambda: Meaning(encoder, word_head())) as semantic:
        deciding = asyncio.create_task(semantic.route(RoutingQuery(None, ("coding",))))
        assert await asyncio.to_thread(encoder.begun.wait, LIMIT_SECONDS)
        assert not deciding.done()
        encoder.let_go.set()
        assert (await asyncio.wait_for(deciding, LIMIT_SECONDS)).model == "c"


async def test_past_the_bound_of_waiting_decisions_the_default_answers_at_once() -> None:
    encoder = HeldEncoder()
    with router(lambda: Meaning(encoder, word_head()), queue_limit=1) as semantic:
        first = asyncio.create_task(semantic.route(RoutingQuery(None, ("coding",))))
        assert await asyncio.to_thread(encoder.begun.wait, LIMIT_SECONDS)
        second = await asyncio.wait_for(semantic.route(RoutingQuery(None, ("coding",))), LIMIT_SECONDS)
        assert (second.model, second.reason) == ("g", "default")
        encoder.let_go.set()
        assert (await asyncio.wait_for(first, LIMIT_SECONDS)).model == "c"


async def test_waits_are_asked_for_each_decision() -> None:
    waits = {"c": 30.0, "t": 0.0}
    with router(words, waits=lambda: waits) as semantic:
        assert (await semantic.route(RoutingQuery(None, ("coding technical",)))).model == "t"
        waits.update(c=0.0, t=30.0)
        assert (await semantic.route(RoutingQuery(None, ("coding technical",)))).model == "c"


@pytest.mark.parametrize("turns", [(), ("",), ("   ",)])
async def test_a_request_without_text_gets_the_default(turns: tuple[str, ...]) -> None:
    with router(words) as semantic:
        assert (await semantic.route(RoutingQuery(None, turns))).reason == "default"
