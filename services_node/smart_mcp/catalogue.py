"""What 5003 offers, held here: descriptors and contexts, refreshed in the background, kept while 5003 is away.

One task owns it (`keep`); readers take the index of the moment, which never changes under them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services_node.smart_mcp.contexts import ContextDocument
from services_node.smart_mcp.descriptors import Descriptor
from services_node.smart_mcp.selection import Index
from wire.errors import ApiError

log = logging.getLogger("services_node.smart_mcp")

FIRST_RETRY_SECONDS = 0.5
OK, AWAY = "ok", "away"


class Source(Protocol):
    """5003, as far as it is asked for what it offers."""

    async def tools(self) -> list[dict[str, Any]]: ...

    async def get_json(self, path: str, **params: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """tools, contexts: how many are held; what is beyond is left out and logged. *_chars: of each."""

    tools: int
    tool_chars: int
    contexts: int
    context_chars: int


class Catalogue:
    """index: None until 5003 has answered once. state: "ok", or why what is held may be old."""

    def __init__(self, source: Source, bounds: Bounds, refresh_seconds: float) -> None:
        self.index: Index | None = None
        self.contexts: tuple[ContextDocument, ...] = ()
        self.state = "not asked yet"
        self._source = source
        self._bounds = bounds
        self._refresh_seconds = refresh_seconds

    async def keep(self) -> None:
        """Refreshes for ever; ended by being cancelled."""
        retry = first = min(FIRST_RETRY_SECONDS, self._refresh_seconds)
        while True:
            try:
                await self.refresh()
                retry = first
                await asyncio.sleep(self._refresh_seconds)
            except Exception as error:  # whatever it was: what is held stays, and it is asked again
                if not self.state.startswith(AWAY):  # said once
                    log.warning("the MCP server's tools cannot be read", extra={"reason": str(error)})
                self.state = f"{AWAY}: {error}"
                await asyncio.sleep(retry)
                retry = min(retry * 2, self._refresh_seconds)

    async def refresh(self) -> None:
        """Raises ApiError; what was held then stays."""
        tools = held(await self._source.tools(), self._bounds)
        if self.index is None or tools != self.index.tools:
            self.index = Index(tools)
            log.info("tools of the MCP server", extra={"count": len(tools)})
        self.state = OK
        try:
            self.contexts = await self._contexts()
        except (ApiError, KeyError, TypeError) as error:  # tools are offered without them
            log.warning("the MCP server's contexts cannot be read", extra={"reason": repr(error)})

    async def _contexts(self) -> tuple[ContextDocument, ...]:
        listed: Sequence[Mapping[str, Any]] = (await self._source.get_json("/api/mcp/contexts"))["contexts"]
        documents = []
        for entry in listed[: self._bounds.contexts]:
            whole = await self._source.get_json(f"/api/mcp/context/{entry['id']}")
            documents.append(ContextDocument.of(entry, whole, self._bounds.context_chars))
        return tuple(documents)


def held(listed: Sequence[Mapping[str, Any]], bounds: Bounds) -> tuple[Descriptor, ...]:
    """The descriptors that are kept: well-formed, not oversized, each name once, not more than there is room for."""
    found: dict[str, Descriptor] = {}
    for wire in listed:
        try:
            tool = Descriptor.of(wire)
        except ValueError as error:
            log.warning("a tool is left out", extra={"reason": str(error)})
            continue
        if len(json.dumps(wire, ensure_ascii=False)) > bounds.tool_chars:
            log.warning("a tool is left out: its description is too long", extra={"tool": tool.name})
        elif len(found) < bounds.tools:
            found.setdefault(tool.name, tool)
    if len(listed) > bounds.tools:
        log.warning("tools are left out: there are too many", extra={"count": len(listed) - bounds.tools})
    return tuple(found.values())
