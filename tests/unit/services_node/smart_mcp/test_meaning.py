"""Embeddings are asked only while that is cheap, and never waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from bench._smart_questions import tools
from services_node.smart_mcp.descriptors import Descriptor
from services_node.smart_mcp.meaning import AT_ONCE, MISSES, Meaning, MeaningRules, Mode
from services_node.smart_mcp.selection import Index
from wire.errors import Unavailable

NINE_TOOLS = tools()

INDEX = Index([Descriptor.of(tool) for tool in NINE_TOOLS])


class Embedder:
    """A vector that tells texts apart by their first letter."""

    def __init__(self, *, loaded: bool = True) -> None:
        self.is_loaded = loaded
        self.seconds = 0.0
        self.asked: list[int] = []

    async def loaded(self, model: str) -> bool:
        return self.is_loaded

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        self.asked.append(len(texts))
        await asyncio.sleep(self.seconds)
        if self.seconds < 0:
            raise Unavailable("away")
        return [[3.0, 4.0] if text.startswith("Calculator") else [0.0, 2.0] for text in texts]


def meaning(embedder: Embedder, mode: Mode = "ready") -> Meaning:
    return Meaning(embedder, MeaningRules(mode, "minilm", deadline_seconds=0.03, look_seconds=1))


async def test_a_model_that_is_not_loaded_is_not_asked() -> None:
    embedder = Embedder(loaded=False)
    asking = meaning(embedder)
    await asking.look(INDEX)
    assert await asking.likeness("hola") is None
    assert embedder.asked == [] and asking.state == "model not loaded"


async def test_vectors_of_tools_are_made_once_and_forgotten_with_their_tools() -> None:
    embedder = Embedder()
    asking = meaning(embedder)
    await asking.look(INDEX)
    await asking.look(INDEX)
    assert sum(embedder.asked) == len(INDEX.tools)
    await asking.look(Index(INDEX.tools[:2]))
    assert len(asking._vectors) == 2


async def test_likeness_is_the_cosine_to_each_tool() -> None:
    asking = meaning(Embedder())
    await asking.look(INDEX)
    cosine = await asking.likeness("Calculator, please")
    assert cosine is not None
    assert [round(cosine(tool), 3) for tool in INDEX.tools[:2]] == [1.0, 0.8]
    assert cosine(Descriptor.of({**NINE_TOOLS[0], "title": "new"})) == 0.0


async def test_a_slow_or_failing_model_is_not_waited_for_and_soon_not_asked() -> None:
    for seconds in (5.0, -1.0):
        embedder = Embedder()
        asking = meaning(embedder)
        await asking.look(INDEX)
        embedder.seconds, embedder.asked = seconds, []
        async with asyncio.timeout(4):
            assert [await asking.likeness("hola") for _ in range(MISSES + 5)] == [None] * (MISSES + 5)
        assert len(embedder.asked) == MISSES
        embedder.seconds = 0.0
        await asking.look(INDEX)
        assert await asking.likeness("hola") is not None


async def test_many_questions_at_once_do_not_queue_for_it() -> None:
    embedder = Embedder()
    asking = meaning(embedder)
    await asking.look(INDEX)
    embedder.seconds, embedder.asked = 5.0, []
    await asyncio.gather(*(asking.likeness("hola") for _ in range(50)))
    assert len(embedder.asked) == AT_ONCE


async def test_off_means_off_and_always_asks_without_looking() -> None:
    embedder = Embedder(loaded=False)
    assert meaning(embedder, "off").state == "off"
    always = meaning(embedder, "always")
    await always.look(INDEX)
    assert await always.likeness("hola") is not None
