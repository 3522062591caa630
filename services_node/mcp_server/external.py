"""Other people's MCP servers: their tools among ours, under `NAME__tool`, whatever state they are in.

Each server has one task that owns its connection: connects, lists its tools again and again, and connects anew after a
failure. Nothing else waits for it: a call to a server that is away answers at once, and its last known tools stay
listed. What comes from there is untrusted, its own hints about its tools included.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.subscriptions import SubscriptionBus, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND, CallToolResult, TextContent
from mcp_types import Tool as Descriptor
from pydantic import SecretStr

from services_node.mcp_server.errors import ToolFailed
from services_node.mcp_server.external_settings import ExternalServer
from services_node.mcp_server.external_tools import DESCRIPTOR_FAULT, offered_name, tool_of
from services_node.mcp_server.registry import Call, Tool, ToolReply
from stack.settings import Settings

log = logging.getLogger("services_node.mcp_server")

FIRST_RETRY_SECONDS = 1.0
GOODBYES, GOODBYE_SECONDS = 3, 1.0  # for connections to end, at a stop
FAILURES = 3  # calls in a row without an answer, after which the connection is made anew
PAGES = 20  # of one server's list
TOOLS = 200  # of one server
NOT_ITS_FAULT = {INVALID_PARAMS, METHOD_NOT_FOUND}  # errors that say the server is well


class ExternalServers:
    """tools: those of every server, by the names they are offered under; changed in place."""

    def __init__(self, servers: Mapping[str, ExternalServer], settings: Settings, bus: SubscriptionBus) -> None:
        self.tools: dict[str, Tool] = {}
        self._bus = bus
        self._links = [_Link(name, server, server.key(), settings, self) for name, server in servers.items()]

    def health(self) -> dict[str, str]:
        """By server: "ok", "connecting", or what is wrong."""
        return {link.name: link.state for link in self._links}

    def tool_count(self, name: str) -> int:
        return sum(tool.startswith(offered_name(name, "")) for tool in self.tools)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """To be held open while the service runs. Waits for no server."""
        tasks = [asyncio.create_task(link.keep(), name=f"mcp server {link.name}") for link in self._links]
        try:
            yield
        finally:
            for link in self._links:
                link.ending.set()
            pending = set(tasks)
            for _ in range(GOODBYES):
                # More than once: a connection that fails while it is being ended turns the end into its failure.
                for task in pending:
                    task.cancel()
                if pending:
                    _, pending = await asyncio.wait(pending, timeout=GOODBYE_SECONDS)
            for task in pending:
                log.error("a connection does not end", extra={"task": task.get_name()})

    async def changed(self, name: str, tools: Mapping[str, Tool]) -> None:
        """One server's tools, as they are now."""
        known = {tool for tool in self.tools if tool.startswith(offered_name(name, ""))}
        for gone in known - set(tools):
            del self.tools[gone]
        self.tools.update(tools)
        if known != set(tools):
            log.info("tools of another server", extra={"server": name, "count": len(tools)})
            await self._bus.publish(ToolsListChanged())


class _Link:
    """One server and the connection to it."""

    def __init__(
        self, name: str, server: ExternalServer, key: SecretStr | None, settings: Settings, all_: ExternalServers
    ) -> None:
        self.name = name
        self.state = "connecting"
        self.ending = asyncio.Event()
        self._server = server
        self._key = key
        self._settings = settings
        self._all = all_
        self._client: Client | None = None
        self._failures = 0
        self._lost = asyncio.Event()

    async def keep(self) -> None:
        """Connects again and again, until `ending`; cancelled to leave what it waits for."""
        retry = FIRST_RETRY_SECONDS
        while not self.ending.is_set():
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout(self._settings.mcp_external_connect_seconds):
                        client = await stack.enter_async_context(self._connection())
                        await self._list(client)
                    retry = FIRST_RETRY_SECONDS
                    self._lost.clear()
                    self._client, self._failures, self.state = client, 0, "ok"
                    await self._stay(client)
            except Exception as error:
                if self.ending.is_set():
                    return
                self.state = f"unreachable: {_reason(error)}"
                log.warning("another MCP server is away", extra={"server": self.name, "reason": _reason(error)})
            finally:
                self._client = None
            await asyncio.sleep(retry)
            retry = min(retry * 2, self._settings.mcp_external_refresh_seconds)

    async def call(self, tool: str, arguments: Mapping[str, Any], call: Call) -> ToolReply:
        """Raises ToolFailed at once while the server is away."""
        client = self._client
        if client is None:
            raise ToolFailed(f"The server {self.name!r} of this tool is away ({self.state}). Go on without it.")
        try:
            async with asyncio.timeout(self._server.timeout_seconds):
                result = await client.call_tool(tool, dict(arguments), progress_callback=_passing_on(call))
        except TimeoutError:
            self._failed()
            raise ToolFailed(
                f"{self.name} did not answer within {self._server.timeout_seconds:g} seconds. Try later."
            ) from None
        except MCPError as error:
            if error.code in NOT_ITS_FAULT:
                self._failures = 0
            else:
                self._failed()
            raise ToolFailed(f"{self.name} refused the call: {error.message}", source=self._host) from None
        except Exception as error:
            self._failures = FAILURES
            self._failed()
            raise ToolFailed(f"{self.name} gave no usable answer ({_reason(error)}). Go on without it.") from None
        self._failures = 0
        return _reply(result, self._host)

    @property
    def _host(self) -> str:
        return self._server.url.host or self.name

    def _failed(self) -> None:
        self._failures += 1
        if self._failures >= FAILURES:
            self._client, self.state = None, "unreachable: calls went unanswered"
            self._lost.set()

    async def _stay(self, client: Client) -> None:
        """Until the connection is lost, listing the tools from time to time. Raises when they can't be."""
        while True:
            try:
                async with asyncio.timeout(self._settings.mcp_external_refresh_seconds):
                    await self._lost.wait()
            except TimeoutError:
                async with asyncio.timeout(self._settings.mcp_external_connect_seconds):
                    await self._list(client)
            else:
                return

    async def _list(self, client: Client) -> None:
        found: list[Descriptor] = []
        cursor: str | None = None
        for _ in range(PAGES):
            page = await client.list_tools(cursor=cursor, cache_mode="refresh")
            found += page.tools
            cursor = page.next_cursor
            if cursor is None:
                break
        tools: dict[str, Tool] = {}
        for descriptor in found[:TOOLS]:
            if not self._server.allows(descriptor.name):
                continue
            try:
                tool = tool_of(self.name, self._server, descriptor, self.call)
            except ValueError as error:
                log.warning(
                    DESCRIPTOR_FAULT, extra={"server": self.name, "tool": descriptor.name, "reason": str(error)}
                )
            else:
                tools[tool.name] = tool
        await self._all.changed(self.name, tools)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Client]:
        headers = {"accept-encoding": "identity"}  # what is counted is what is read
        if self._key is not None:
            headers["authorization"] = f"Bearer {self._key.get_secret_value()}"
        seconds = self._settings.mcp_external_connect_seconds
        http = httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(seconds, read=max(300.0, self._server.timeout_seconds)),
            event_hooks={"response": [self._bound]},
        )
        async with http:
            transport = streamable_http_client(str(self._server.url), http_client=http)
            async with Client(transport, cache=None) as client:
                yield client

    async def _bound(self, response: httpx2.Response) -> None:
        """A JSON answer has an end; a stream's single events are bounded by the SDK."""
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            response.stream = _Bounded(response.stream, self._settings.max_body_bytes)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: Any, most: int) -> None:
        self._stream = stream
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._stream:
            read += len(chunk)
            if read > self._most:
                raise httpx2.ReadError(f"more than {self._most} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


def _reply(result: CallToolResult, host: str) -> ToolReply:
    """Raises ToolFailed for a result that says it is an error."""
    if result.is_error:
        words = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
        raise ToolFailed(words or "The tool failed without saying why.", source=host)
    structured = result.structured_content
    return ToolReply(tuple(result.content), structured if isinstance(structured, dict) else None, True, host)


def _passing_on(call: Call) -> Any:
    async def progress(done: float, total: float | None, message: str | None) -> None:
        await call.progress(done, total, message or "")

    return progress


def _reason(error: BaseException) -> str:
    """In a few words of ours, without anything of a request (a key may be in it) or of what the server says."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, httpx2.HTTPStatusError):
        return f"HTTP {error.response.status_code}"
    return f"MCP error {error.code}" if isinstance(error, MCPError) else type(error).__name__
