"""Client of the chat API (services:5000)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from wire.clients.base import ServiceClient, error_from_body
from wire.context import outgoing_headers
from wire.sse import iter_data


class ChatClient(ServiceClient):
    def __init__(self, base_url: str, *, key: str | None = None, read_seconds: float = 600) -> None:
        super().__init__(base_url, name="chat-api", key=key, read_seconds=read_seconds)

    async def stream(self, request: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The events of `POST /api/chat/stream` (`type`, `content`, `done`, …). Raises ApiError when it is refused."""
        try:
            async with self._http.stream("POST", "/api/chat/stream", json=request, headers=outgoing_headers()) as reply:
                if reply.status_code >= 400:
                    raise error_from_body(self.name, reply.status_code, await reply.aread(), reply.headers)
                async for data in iter_data(reply.aiter_raw()):
                    yield json.loads(data)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
