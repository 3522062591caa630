"""Whether this server can do its work now, and what stands behind it.

It is ready by itself: calculating, dates, documents and public pages need nobody. What needs the chat API or another
server answers with a tool error while that is away; `checks` tells which.
"""

from __future__ import annotations

import asyncio

from services_node.mcp_server.external import ExternalServers
from services_node.mcp_server.parts import Parts
from wire.errors import ApiError
from wire.health import Readiness

PROBE_SECONDS = 1.0
FRESH_SECONDS = 5.0  # how long an answer counts: readiness is asked often


class ReadinessProbe:
    def __init__(self, parts: Parts, external: ExternalServers) -> None:
        self._parts = parts
        self._external = external
        self._asked_at: float | None = None
        self._chat_api = ""

    async def __call__(self) -> Readiness:
        now = asyncio.get_running_loop().time()
        if self._asked_at is None or now - self._asked_at > FRESH_SECONDS:
            self._asked_at = now
            self._chat_api = await self._ask()
        # Asked without a key: which parts are well, and nothing of where they are.
        servers = {f"mcp server {name}": state.partition(":")[0] for name, state in self._external.health().items()}
        return Readiness(True, {"chat-api": self._chat_api, **servers})

    async def _ask(self) -> str:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._parts.assistant.get_json("/health/live")
        except TimeoutError:
            return "no answer in time"
        except ApiError as error:
            return error.code
        return "ok"
