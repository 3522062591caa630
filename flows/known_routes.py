"""What the model server said of a named model, remembered for a moment: a chat that names its model asks once less."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from flows.turn import Models
from wire.clients.models import ChatStream, Route

AUTO = frozenset({"", "auto", "default"})  # whose choice depends on what is asked
REMEMBERED_SECONDS = 15.0  # a catalogue changes with the model server's restart only
MOST = 64


class KnownRoutes:
    """`flows.turn.Models` over another one."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._known: dict[str, tuple[float, Route]] = {}

    def stream_chat(
        self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[ChatStream]:
        return self._models.stream_chat(request, headers)

    async def count_tokens(self, model: str, texts: list[str], headers: Mapping[str, str] | None = None) -> list[int]:
        return await self._models.count_tokens(model, texts, headers)

    async def route(self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Route:
        """Raises what the model server answers; an error is never remembered."""
        name = str(request.get("model") or "")
        if name.strip().lower() in AUTO:
            return await self._models.route(request, headers)
        known = self._known.get(name)
        if known is not None and time.monotonic() - known[0] < REMEMBERED_SECONDS:
            return known[1]
        found = await self._models.route(request, headers)
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[name] = time.monotonic(), found
        return found
