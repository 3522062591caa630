"""Counting a text's tokens as a model would, without the model: only its tokenizer is read."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from tokenizers import Tokenizer

from models_node.catalogue import ModelEntry, weights_path
from models_node.server.requests import Body, routing_query
from models_node.server.state import Server

router = APIRouter(tags=["openai"])
COUNTING_AT_ONCE = 2  # each takes a thread and a core
MAX_TEXTS = 1024


@dataclass(frozen=True, slots=True)
class Counts:
    """counts: tokens of each text, without a chat template's own. exact: False where no tokenizer was to be read and
    the text's length had to do."""

    counts: tuple[int, ...]
    exact: bool


class TokenCounter:
    """characters_per_token: for models whose tokenizer is elsewhere (remote ones)."""

    def __init__(self, home: Path, characters_per_token: float) -> None:
        self._home = home
        self._characters_per_token = characters_per_token
        self._tokenizers: dict[Path, Tokenizer | None] = {}
        self._places = asyncio.Semaphore(COUNTING_AT_ONCE)

    async def count(self, entry: ModelEntry, texts: list[str]) -> Counts:
        async with self._places:
            return await asyncio.to_thread(self._count, entry, texts)

    def _count(self, entry: ModelEntry, texts: list[str]) -> Counts:
        tokenizer = self._tokenizer(entry)
        if tokenizer is None:
            return Counts(tuple(math.ceil(len(text) / self._characters_per_token) for text in texts), exact=False)
        encoded = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return Counts(tuple(len(one) for one in encoded), exact=True)

    def _tokenizer(self, entry: ModelEntry) -> Tokenizer | None:
        folder = weights_path(entry, self._home)
        file = folder / "tokenizer.json" if folder is not None else None
        if file is None or not file.is_file():
            return None
        if file not in self._tokenizers:
            self._tokenizers[file] = Tokenizer.from_file(str(file))
        return self._tokenizers[file]


class TokenizeRequest(BaseModel):
    """prompt: one text, or several that are counted each."""

    model_config = ConfigDict(extra="ignore")

    model: str | None = None
    prompt: str | Annotated[list[str], Field(min_length=1, max_length=MAX_TEXTS)]


@router.post("/tokenize")
async def tokenize(asked: TokenizeRequest, server: Server, request: Request) -> dict[str, Any]:
    """How many tokens the texts have for a model (the router's choice where none is named). Loads nothing."""
    texts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    route = await server.router.route(routing_query(Body(b"", {"model": asked.model, "prompt": texts[-1]})))
    entry = server.entry(route.model)
    counter: TokenCounter = request.app.state.tokens
    found = await counter.count(entry, texts)
    return {
        "model": entry.id,
        "count": sum(found.counts),
        "counts": found.counts,
        "exact": found.exact,
        "max_model_len": entry.context_length,
    }
