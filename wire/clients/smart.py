"""Client of the smart MCP (services:5010): which tools a question needs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import httpx

from wire.clients.base import ServiceClient, error_from_body
from wire.context import outgoing_headers


class SmartToolsClient(ServiceClient):
    def __init__(self, base_url: str, *, key: str | None = None, read_seconds: float = 2) -> None:
        super().__init__(base_url, name="smart-mcp", key=key, connect_seconds=0.5, read_seconds=read_seconds)

    async def select(self, query: str, *, limit: int, allowed: Collection[str] | None) -> list[dict[str, Any]]:
        """Descriptors of the tools that the query needs, the likeliest first; each with a `score`. Raises ApiError."""
        body = {"query": query, "limit": limit, "allowed": sorted(allowed) if allowed is not None else None}
        try:
            reply = await self._http.post("/select", json=body, headers=outgoing_headers())
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if reply.status_code >= 400:
            raise error_from_body(self.name, reply.status_code, reply.content, reply.headers)
        tools: list[dict[str, Any]] = reply.json()["tools"]
        return tools
