"""Client of the chat API's code and files (services:5000)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from wire.clients.base import ServiceClient, error_from_body
from wire.context import outgoing_headers
from wire.sse import iter_data


class CodeClient(ServiceClient):
    def __init__(self, base_url: str, *, key: str | None = None, read_seconds: float = 600) -> None:
        super().__init__(base_url, name="chat-api", key=key, read_seconds=read_seconds)

    async def stream(self, request: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The events of `POST /api/code/run/stream`. Raises ApiError when it is refused."""
        try:
            async with self._http.stream(
                "POST", "/api/code/run/stream", json=request, headers=outgoing_headers()
            ) as reply:
                if reply.status_code >= 400:
                    raise error_from_body(self.name, reply.status_code, await reply.aread(), reply.headers)
                async for data in iter_data(reply.aiter_raw()):
                    yield json.loads(data)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error

    async def upload(self, path: Path, name: str) -> str:
        """Keeps a file with the stack and returns its id. Raises ApiError, OSError."""
        try:
            with path.open("rb") as opened:
                reply = await self._http.post("/api/files", files={"file": (name, opened)}, headers=outgoing_headers())
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if reply.status_code >= 400:
            raise error_from_body(self.name, reply.status_code, reply.content, reply.headers)
        return str(reply.json()["id"])

    async def download(self, url: str, target: Path) -> None:
        """Writes a file's bytes to `target`, whose folder is made. Raises ApiError, OSError."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            async with self._http.stream("GET", url, headers=outgoing_headers()) as reply:
                if reply.status_code >= 400:
                    raise error_from_body(self.name, reply.status_code, await reply.aread(), reply.headers)
                with target.open("wb") as opened:
                    async for chunk in reply.aiter_bytes():
                        opened.write(chunk)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
