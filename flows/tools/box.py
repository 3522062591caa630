"""Where tools come from and where calls go: the smart registry, our MCP server, and code's own sandbox."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from flows.code import CodeTools
from flows.steps import Steps
from flows.tools.calls import META, Call, Outcome, Tool
from flows.tools.policy import RUN_PYTHON, Allowed
from flows.tools.python import PythonCall, run_python
from flows.tools.sounds import text_with_sounds
from flows.work import Account
from wire.clients.mcp import ToolResult
from wire.context import RequestContext
from wire.errors import ApiError

log = logging.getLogger("flows.tools")

AWAY_SECONDS = 2.0  # how long a registry that did not answer is left alone: no chat waits for it meanwhile
CONSIDERED = 16  # asked of the registry: what may not be used takes no place of what may
LISTED_SECONDS = 60.0  # how long the list of 5003's tools is believed, for names that callers give
CUT = "\n[… {left} more characters were cut off]"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The run a call is made in, and its step. written: waits until the run's row is there."""

    context: RequestContext
    conversation_id: uuid.UUID
    locale: str
    account: Account
    steps: Steps
    written: Callable[[], Awaitable[None]]
    ran_code_before: bool
    step_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class ToolLimits:
    """offered: tools told to a model at once. select_seconds: what the choice of them may take; then there are none."""

    offered: int
    select_seconds: float
    result_chars: int


class Toolbox(Protocol):
    """What the turn needs of tools."""

    async def offered(self, question: str, allowed: Allowed) -> tuple[Tool, ...]:
        """The tools this question needs, the likeliest first; none where none is needed or to be had."""
        ...

    async def call(self, call: Call, tool: Tool, around: Surroundings) -> Outcome:
        """Makes a call that policy lets pass. Raises ApiError where its server cannot be asked."""
        ...


class SmartRegistry(Protocol):
    async def select(
        self, query: str, *, limit: int, allowed: Collection[str] | None
    ) -> Sequence[Mapping[str, Any]]: ...

    async def close(self) -> None: ...


class ToolServer(Protocol):
    async def tools(self) -> Sequence[Mapping[str, Any]]: ...

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        context: RequestContext | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> ToolResult: ...

    async def close(self) -> None: ...


class ServedTools:
    """`Toolbox` over the services' own servers."""

    def __init__(self, registry: SmartRegistry, server: ToolServer, code: CodeTools, limits: ToolLimits) -> None:
        self._registry = registry
        self._server = server
        self._code = code
        self._limits = limits
        self.away = False  # whether the smart registry did not answer when it was last asked
        self._look_again = 0.0
        self._listed: tuple[float, frozenset[str]] | None = None

    async def offered(self, question: str, allowed: Allowed) -> tuple[Tool, ...]:
        if self.away and time.monotonic() < self._look_again:
            return ()
        try:
            async with asyncio.timeout(self._limits.select_seconds):
                found = await self._registry.select(question, limit=CONSIDERED, allowed=allowed.names)
        except (ApiError, TimeoutError) as error:
            if not self.away:
                log.warning(
                    "the smart registry does not answer; chats go on without tools", extra={"reason": repr(error)}
                )
            self.away, self._look_again = True, time.monotonic() + AWAY_SECONDS
            return ()
        self.away = False
        return tuple(tool for tool in map(Tool.of, found) if allowed.offers(tool))[: self._limits.offered]

    async def unknown(self, names: Collection[str]) -> list[str]:
        """Those of the names that no tool has; none while the MCP server is away and nothing is known."""
        if self._listed is None or time.monotonic() - self._listed[0] > LISTED_SECONDS:
            try:
                async with asyncio.timeout(self._limits.select_seconds):
                    tools = await self._server.tools()
            except (ApiError, TimeoutError):
                return []
            self._listed = time.monotonic(), frozenset(str(tool["name"]) for tool in tools)
        return sorted(set(names) - self._listed[1])

    async def close(self) -> None:
        await self._registry.close()
        await self._server.close()

    async def call(self, call: Call, tool: Tool, around: Surroundings) -> Outcome:
        arguments = call.arguments or {}
        if tool.name == RUN_PYTHON:
            asked = PythonCall.of(arguments, tool.timeout_seconds)
            outcome = asked if isinstance(asked, Outcome) else await run_python(asked, self._code, around)
        else:
            meta = {f"{META}conversation_id": str(around.conversation_id), f"{META}locale": around.locale}
            result = await self._server.call_tool(tool.name, arguments, context=around.context, meta=meta)
            untrusted = tool.untrusted or result.meta.get(f"{META}untrusted") is True
            text = result.text if untrusted else await text_with_sounds(result, self._code.files, around)
            outcome = Outcome(text, "tool_failed" if result.failed else None, untrusted)
        return self._bounded(outcome)

    def _bounded(self, outcome: Outcome) -> Outcome:
        """Cut within the marks that its server put around text from outside."""
        most = self._limits.result_chars
        if len(outcome.text) <= most:
            return outcome
        head, _, last = outcome.text.rpartition("\n")
        kept, mark = (head, f"\n{last}") if outcome.untrusted and last.startswith("<<<") else (outcome.text, "")
        return replace(outcome, text=kept[:most] + CUT.format(left=len(kept) - most) + mark)
