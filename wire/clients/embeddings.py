"""Client of the model server's embeddings (models-europe:8082)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx

from wire.clients.base import ServiceClient, error_from_body
from wire.context import outgoing_headers
from wire.errors import UpstreamFailed

LOADED = "loaded"


class EmbeddingsClient(ServiceClient):
    def __init__(self, base_url: str, *, key: str | None = None, read_seconds: float = 30) -> None:
        super().__init__(base_url, name="model-server", key=key, read_seconds=read_seconds)

    async def loaded(self, model: str) -> bool:
        """Whether the model answers without being loaded first. Raises ApiError."""
        entries: list[dict[str, Any]] = (await self.get_json("/v1/models"))["data"]
        return any(entry.get("id") == model and entry.get("status") == LOADED for entry in entries)

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """One vector a text. Raises ApiError; UpstreamFailed for an answer that is none."""
        body = {"model": model, "input": list(texts)}
        try:
            reply = await self._http.post("/v1/embeddings", json=body, headers=outgoing_headers())
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if reply.status_code >= 400:
            raise error_from_body(self.name, reply.status_code, reply.content, reply.headers)
        try:
            found = [[float(value) for value in entry["embedding"]] for entry in reply.json()["data"]]
        except (ValueError, KeyError, TypeError):
            raise UpstreamFailed("The model server's embeddings are none.", code="embeddings_broken") from None
        if len(found) != len(texts):
            raise UpstreamFailed("The model server's embeddings are too few.", code="embeddings_broken")
        return found
