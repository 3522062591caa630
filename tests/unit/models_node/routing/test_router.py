"""The first router: what was asked for, else the default, else whoever sees images."""

from __future__ import annotations

import pytest

from models_node.catalogue import Catalogue, parse_catalogue
from models_node.routing.router import DefaultRouter, RoutingQuery
from wire.errors import ApiError

ENTRY = """
[[models]]
id = "{0}"
domain = "{1}"
description = ""
context_length = 1
weights = "w"
memory_estimate = 1
priority = {2}
capabilities = {{ vision = {3} }}
"""


def catalogue(*models: tuple[str, str, int, bool]) -> Catalogue:
    entries = "".join(ENTRY.format(*model[:3], str(model[3]).lower()) for model in models)
    return parse_catalogue(f'default = "{models[0][0]}"\n[limits]\nmemory_budget = 1\n{entries}', "test")


BLIND = catalogue(("a", "general", 1, False), ("b", "coding", 2, False))
SEEING = catalogue(("a", "general", 1, False), ("b", "analysis", 1, True), ("c", "analysis", 5, True))


@pytest.mark.parametrize("asked", [None, "", "auto", "AUTO", " auto ", "default"])
async def test_without_a_model_the_default_answers(asked: str | None) -> None:
    route = await DefaultRouter(BLIND).route(RoutingQuery(asked, ("hello",)))
    assert (route.model, route.label, route.reason) == ("a", "general", "default")


async def test_no_numbers_are_invented() -> None:
    route = await DefaultRouter(BLIND).route(RoutingQuery("auto"))
    assert route.confidence is None
    assert dict(route.scores) == {}


async def test_a_named_model_is_what_was_asked() -> None:
    route = await DefaultRouter(BLIND).route(RoutingQuery("b"))
    assert (route.model, route.label, route.reason) == ("b", "coding", "asked")


async def test_an_unknown_model_is_a_404_that_names_the_known_ones() -> None:
    with pytest.raises(ApiError) as caught:
        await DefaultRouter(BLIND).route(RoutingQuery("gpt-5"))
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")
    assert "a, b" in caught.value.detail


async def test_images_go_to_the_foremost_model_that_sees() -> None:
    route = await DefaultRouter(SEEING).route(RoutingQuery("auto", images=1))
    assert (route.model, route.reason) == ("c", "images")


@pytest.mark.parametrize("query", [RoutingQuery("auto", images=1), RoutingQuery("b", images=2)])
async def test_images_where_nobody_sees_are_a_400(query: RoutingQuery) -> None:
    with pytest.raises(ApiError) as caught:
        await DefaultRouter(BLIND).route(query)
    assert (caught.value.status, caught.value.code) == (400, "no_vision_model")


async def test_images_for_a_named_blind_model_say_who_sees() -> None:
    with pytest.raises(ApiError, match="these do: c, b"):
        await DefaultRouter(SEEING).route(RoutingQuery("a", images=1))
