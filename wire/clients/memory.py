"""Client of the node's memory ledger, which the model server keeps (models-europe:8082)."""

from __future__ import annotations

from typing import Any

import httpx

from wire.clients.base import ServiceClient, error_from_body
from wire.context import outgoing_headers


class NodeMemoryClient(ServiceClient):
    """For services that share the node's memory with the models. read_seconds: longer than the model server lets a
    holder wait for room (CAPIBARA6_MEMORY_HOLD_WAIT_SECONDS)."""

    def __init__(self, base_url: str, *, key: str | None = None, read_seconds: float = 15) -> None:
        super().__init__(base_url, name="model-server", key=key, read_seconds=read_seconds)

    async def hold(self, holder: str, bytes_: int, *, in_use: bool, ttl_seconds: float) -> None:
        """So much is the holder's, in all; also its sign of life, to be given again before `ttl_seconds` are over.

        in_use: it is taken already, and recorded whatever there is. Raises ApiError: 503 `out_of_memory` when there is
        no room (what it held before stands), `model_server_unreachable` when nobody keeps a ledger now.
        """
        await self._send("PUT", holder, {"bytes": bytes_, "in_use": in_use, "ttl_seconds": ttl_seconds})

    async def release(self, holder: str) -> None:
        """The holder holds nothing any more. Raises ApiError when the model server cannot be told."""
        await self._send("DELETE", holder, None)

    async def _send(self, method: str, holder: str, body: dict[str, Any] | None) -> None:
        try:
            reply = await self._http.request(method, f"/memory/holders/{holder}", json=body, headers=outgoing_headers())
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if reply.status_code >= 400:
            raise error_from_body(self.name, reply.status_code, reply.content, reply.headers)
