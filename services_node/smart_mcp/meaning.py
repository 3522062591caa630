"""Likeness by embeddings, asked of the model server only while that is cheap. Never waited for beyond its deadline."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from services_node.smart_mcp.descriptors import Descriptor
from services_node.smart_mcp.selection import Index, Likeness, looked_at

log = logging.getLogger("services_node.smart_mcp")

Mode = Literal["off", "ready", "always"]
AT_ONCE = 4  # questions of other requests go on by words alone
BATCH = 32  # descriptions embedded by one call
MISSES = 3  # deadlines missed in a row, after which questions are asked no more until the next look


class Embedder(Protocol):
    async def loaded(self, model: str) -> bool: ...

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]: ...


@dataclass(frozen=True, slots=True)
class MeaningRules:
    mode: Mode
    model: str
    deadline_seconds: float  # of one question
    look_seconds: float  # how often it is asked whether the model is loaded, and new tools are embedded


class Meaning:
    """`look` is for the background; `likeness` answers at once, from what `look` prepared and one short question."""

    def __init__(self, embedder: Embedder, rules: MeaningRules) -> None:
        self._embedder = embedder
        self._rules = rules
        self._vectors: dict[str, list[float]] = {}
        self._ready = False
        self._asking = 0
        self._missed = 0

    @property
    def state(self) -> str:
        return "off" if self._rules.mode == "off" else "in use" if self._ready else "model not loaded"

    async def look(self, index: Index) -> None:
        """Whether to ask, and the vectors of tools that have none yet. Raises nothing."""
        try:
            if self._rules.mode == "ready" and not await self._embedder.loaded(self._rules.model):
                self._ready = False
                return
            known = {key(tool): self._vectors[key(tool)] for tool in index.tools if key(tool) in self._vectors}
            new = [tool for tool in index.tools if key(tool) not in known]
            for start in range(0, len(new), BATCH):
                part = new[start : start + BATCH]
                vectors = await self._embedder.embed(self._rules.model, [tool.text for tool in part])
                known |= {key(tool): normal(vector) for tool, vector in zip(part, vectors, strict=True)}
            self._vectors = known  # tools that are gone leave no vector behind
            self._ready, self._missed = True, 0
        except Exception as error:  # choices go on by words alone
            self._ready = False
            log.info("embeddings are not used", extra={"reason": str(error)})

    async def likeness(self, query: str) -> Likeness | None:
        """Cosine of the query to a tool; None when its vector is not had within the deadline. Raises nothing."""
        if not self._ready or self._asking >= AT_ONCE or self._missed >= MISSES:
            return None
        self._asking += 1
        try:
            async with asyncio.timeout(self._rules.deadline_seconds):
                found = normal((await self._embedder.embed(self._rules.model, [looked_at(query)]))[0])
            self._missed = 0
        except Exception:
            self._missed += 1
            return None
        finally:
            self._asking -= 1
        vectors = self._vectors

        def cosine(tool: Descriptor) -> float:
            known = vectors.get(key(tool))
            return sum(a * b for a, b in zip(found, known, strict=True)) if known else 0.0

        return cosine


def key(tool: Descriptor) -> str:
    return hashlib.sha256(tool.text.encode(errors="replace")).hexdigest()


def normal(vector: Sequence[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]
