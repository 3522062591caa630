"""What is remembered of the model server's choices, and what never is."""

from __future__ import annotations

from typing import Any

import pytest

from flows.known_routes import KnownRoutes
from wire.clients.models import Route
from wire.errors import NotFound


class Models:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def route(self, request: Any, headers: Any = None) -> Route:
        self.asked.append(request["model"])
        if request["model"] == "nobody":
            raise NotFound("nobody")
        return Route("m", "asked", "native", 4096)


async def test_a_named_model_is_asked_about_once() -> None:
    models = Models()
    known = KnownRoutes(models)  # type: ignore[arg-type]
    assert await known.route({"model": "m"}) == await known.route({"model": "m"})
    assert models.asked == ["m"]


@pytest.mark.parametrize("name", ["auto", "", "Default"])
async def test_a_choice_is_made_anew_for_every_question(name: str) -> None:
    models = Models()
    known = KnownRoutes(models)  # type: ignore[arg-type]
    await known.route({"model": name})
    await known.route({"model": name})
    assert models.asked == [name, name]


async def test_an_error_is_not_remembered() -> None:
    models = Models()
    known = KnownRoutes(models)  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(NotFound):
            await known.route({"model": "nobody"})
    assert models.asked == ["nobody", "nobody"]
