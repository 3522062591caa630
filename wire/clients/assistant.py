"""Client of the chat API (services:5000) for a service that acts for somebody: every call names whose it is."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx

from wire.clients.base import ServiceClient, error_from_body
from wire.context import child_run_headers, on_behalf_headers
from wire.errors import UpstreamFailed
from wire.sse import iter_data


class AssistantClient(ServiceClient):
    """Conversations, runs, models, files, flows and code of the principal of the request in hand.

    Methods raise ApiError: as the chat API said it, or Unavailable and DeadlineExceeded where it said nothing.
    """

    def __init__(self, base_url: str, *, key: str | None = None, read_seconds: float = 60) -> None:
        super().__init__(base_url, name="chat-api", key=key, read_seconds=read_seconds)

    async def search_conversations(self, query: str, limit: int) -> list[dict[str, Any]]:
        """`{conversation_id, title, message_id, role, created_at, snippet, rank}`, the best first."""
        found: list[dict[str, Any]] = (await self._get("/api/conversations/search", q=query, limit=limit))["results"]
        return found

    async def conversations(self, limit: int, cursor: str | None = None) -> dict[str, Any]:
        """A page: `{conversations: [{id, title, created_at, updated_at}], next_cursor}`."""
        return await self._page("/api/conversations", limit, cursor)

    async def conversation(
        self, conversation_id: uuid.UUID, messages: int, before: str | None = None
    ) -> dict[str, Any]:
        """A conversation with its newest messages, oldest first. before: a message's id; those before it only."""
        place = {"before": before} if before is not None else {}
        return await self._object(f"/api/conversations/{conversation_id}", messages=messages, **place)

    async def runs(self, limit: int, cursor: str | None = None) -> dict[str, Any]:
        """A page: `{runs: […], next_cursor}`, newest first."""
        return await self._page("/api/runs", limit, cursor)

    async def run(self, run_id: uuid.UUID) -> dict[str, Any]:
        """A run with its steps and files."""
        return await self._object(f"/api/runs/{run_id}")

    async def models(self) -> list[dict[str, Any]]:
        """The entries of `/api/models`."""
        found: list[dict[str, Any]] = (await self._get("/api/models"))["data"]
        return found

    async def files(self, limit: int, cursor: str | None = None) -> dict[str, Any]:
        """A page: `{files: […], next_cursor}`, newest first."""
        return await self._page("/api/files", limit, cursor)

    async def file(self, file_id: uuid.UUID) -> dict[str, Any]:
        """`{id, name, media_type, size_bytes, …}`."""
        return await self._object(f"/api/files/{file_id}")

    async def file_content(self, file_id: uuid.UUID, most_bytes: int) -> bytes:
        """At most the first `most_bytes` bytes of a file."""
        read = bytearray()
        try:
            async with self._http.stream(
                "GET", f"/api/files/{file_id}/content", headers=on_behalf_headers() | {"accept-encoding": "identity"}
            ) as reply:
                if reply.status_code >= 400:
                    raise error_from_body(self.name, reply.status_code, await reply.aread(), reply.headers)
                async for piece in reply.aiter_bytes():
                    read += piece
                    if len(read) >= most_bytes:
                        break
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        return bytes(read[:most_bytes])

    async def flows(self) -> list[dict[str, Any]]:
        """`{name, description, parameters_schema}` of every flow that can be started."""
        found: list[dict[str, Any]] = (await self._get("/api/flows"))["flows"]
        return found

    async def start_flow(self, name: str, parameters: Mapping[str, Any], idempotency_key: str) -> dict[str, Any]:
        """`{run_id, status, flow, location}` of a run of its own, a child of the run in hand. The same key with the
        same parameters is the same run."""
        headers = child_run_headers() | {"idempotency-key": idempotency_key}
        try:
            # the name is a path segment that the chat API has to know: anything else is a 404 of its own
            reply = await self._http.post(
                f"/api/flows/{name}/runs", json={"parameters": dict(parameters)}, headers=headers
            )
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if reply.status_code >= 400:
            raise error_from_body(self.name, reply.status_code, reply.content, reply.headers)
        told: dict[str, Any] = reply.json()
        return told

    async def run_code(self, request: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The events of `POST /api/code/run/stream`, the last one `end` with the whole reply; a run of its own, a child
        of the run in hand. Closing the iterator cancels it."""
        try:
            async with self._http.stream(
                "POST", "/api/code/run/stream", json=dict(request), headers=child_run_headers()
            ) as reply:
                if reply.status_code >= 400:
                    raise error_from_body(self.name, reply.status_code, await reply.aread(), reply.headers)
                async for data in iter_data(reply.aiter_raw()):
                    yield json.loads(data)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error

    async def _page(self, path: str, limit: int, cursor: str | None) -> dict[str, Any]:
        return await self._object(path, limit=limit, **({"cursor": cursor} if cursor else {}))

    async def _object(self, path: str, **params: Any) -> dict[str, Any]:
        found = await self._get(path, **params)
        if not isinstance(found, dict):
            raise UpstreamFailed(f"{self.name} answered in a form that is not known here.")
        return found

    async def _get(self, path: str, **params: Any) -> Any:
        try:
            reply = await self._http.get(path, params=params or None, headers=on_behalf_headers())
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if reply.status_code >= 400:
            raise error_from_body(self.name, reply.status_code, reply.content, reply.headers)
        return reply.json()
