"""Client of our own MCP server (services:5003), in the protocol's stateless era: one POST a call, no session.

The SDK's client keeps a session and a task group a server and sends the same headers for all its calls; here each call
carries its own run, trace and principal, and closing its response is its cancellation
(https://modelcontextprotocol.io/specification/2026-07-28).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from wire.clients.base import ServiceClient, error_from_body
from wire.context import RequestContext, current, on_behalf_headers
from wire.errors import ApiError, NotFound, UpstreamFailed, ValidationFailed
from wire.sse import iter_data

PROTOCOL = "2026-07-28"
META = "io.modelcontextprotocol/"
LARGEST_REPLY_BYTES = 16 * 2**20
MOST_PAGES = 100
_INVALID_PARAMS, _METHOD_NOT_FOUND = -32602, -32601

Progress = Callable[[float, float | None, str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ToolResult:
    """content: MCP's content blocks. structured: what fits the tool's output schema. failed: the tool's own error,
    whose reason is the content. meta: what the server says beside it."""

    content: tuple[Mapping[str, Any], ...]
    structured: Any
    failed: bool
    meta: Mapping[str, Any]

    @property
    def text(self) -> str:
        """What a model reads of it: its texts, and a word for anything else."""
        return "\n".join(block_told(block) for block in self.content)


class McpClient(ServiceClient):
    def __init__(self, base_url: str, *, key: str | None = None, read_seconds: float = 120) -> None:
        super().__init__(base_url, name="mcp-server", key=key, read_seconds=read_seconds)
        self._ids = itertools.count(1)

    async def tools(self) -> list[dict[str, Any]]:
        """Every tool's descriptor. Raises ApiError."""
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            page = await self._ask("tools/list", {"cursor": cursor} if cursor else {}, current(), {}, None)
            found += page.get("tools") or []
            cursor = page.get("nextCursor")
            if not cursor:
                break
        return found

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        context: RequestContext | None = None,
        meta: Mapping[str, Any] | None = None,
        on_progress: Progress | None = None,
    ) -> ToolResult:
        """Calls a tool. meta: goes along in `_meta`. Cancelling it closes the exchange, which cancels the tool.

        A tool that fails is a result (`failed`). Raises ApiError for a call that could not be made.
        """
        params = {"name": name, "arguments": dict(arguments)}
        told = await self._ask("tools/call", params, context or current(), meta or {}, on_progress)
        return ToolResult(
            tuple(told.get("content") or ()),
            told.get("structuredContent"),
            told.get("isError") is True,
            told.get("_meta") or {},
        )

    async def _ask(
        self,
        method: str,
        params: dict[str, Any],
        context: RequestContext,
        meta: Mapping[str, Any],
        on_progress: Progress | None,
    ) -> dict[str, Any]:
        number = next(self._ids)
        headers = {
            **on_behalf_headers(context),
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "mcp-protocol-version": PROTOCOL,
            "mcp-method": method,
        }
        if "name" in params:
            headers["mcp-name"] = _header(params["name"])
        envelope = {
            f"{META}protocolVersion": PROTOCOL,
            f"{META}clientInfo": {"name": "capibara6", "version": "0.1.0"},
            f"{META}clientCapabilities": {},
            "traceparent": headers["traceparent"],
            **({"progressToken": number} if on_progress is not None else {}),
            **meta,
        }
        body = {"jsonrpc": "2.0", "id": number, "method": method, "params": {**params, "_meta": envelope}}
        content = json.dumps(body, ensure_ascii=False).encode(errors="replace")
        try:
            async with self._http.stream("POST", "/mcp", content=content, headers=headers) as reply:
                return await self._answer(reply, on_progress)
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error

    async def _answer(self, reply: httpx.Response, on_progress: Progress | None) -> dict[str, Any]:
        if reply.headers.get("content-type", "").startswith("text/event-stream"):
            async for data in iter_data(_bounded(reply.aiter_raw())):
                message = _message(data.encode())
                if message.get("method") == "notifications/progress" and on_progress is not None:
                    told = message.get("params") or {}
                    await on_progress(
                        float(told.get("progress") or 0), told.get("total"), str(told.get("message") or "")
                    )
                elif "result" in message or "error" in message:
                    return _result(message)
            raise UpstreamFailed("The MCP server's answer broke off.", code="mcp_broken", retry_after_seconds=1)
        raw = b"".join([chunk async for chunk in _bounded(reply.aiter_raw())])
        message = _message(raw) if reply.headers.get("content-type", "").startswith("application/json") else {}
        if "result" not in message and "jsonrpc" not in message:
            raise error_from_body(self.name, max(reply.status_code, 400), raw, reply.headers)
        return _result(message)


def _message(raw: bytes) -> dict[str, Any]:
    try:
        message = json.loads(raw)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise UpstreamFailed("The MCP server's answer is no JSON-RPC message.", code="mcp_broken")
    return message


def _result(message: Mapping[str, Any]) -> dict[str, Any]:
    if "error" not in message:
        result: dict[str, Any] = message.get("result") or {}
        return result
    error = message["error"] if isinstance(message["error"], dict) else {}
    detail, code = str(error.get("message") or "The MCP server refused the call."), error.get("code")
    if code == _METHOD_NOT_FOUND:
        raise NotFound(detail, code="mcp_not_found")
    if code == _INVALID_PARAMS:
        raise ValidationFailed(detail, code="mcp_invalid_params")
    raise _of_code(detail, error)


def _of_code(detail: str, error: Mapping[str, Any]) -> ApiError:
    data = error.get("data")
    code = data.get("code") if isinstance(data, dict) else None
    return UpstreamFailed(detail, code=str(code or "mcp_failed"))


async def _bounded(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > LARGEST_REPLY_BYTES:
            raise UpstreamFailed(
                f"The MCP server's answer has more than {LARGEST_REPLY_BYTES} bytes.", code="mcp_flood"
            )
        yield chunk


def block_told(block: Mapping[str, Any]) -> str:
    """A content block as a model reads it."""
    match block.get("type"):
        case "text":
            return str(block.get("text") or "")
        case "resource_link":
            return f"[{block.get('name') or 'file'}: {block.get('uri')}]"
        case "resource":
            resource = block.get("resource") or {}
            return str(resource.get("text") or f"[{resource.get('uri')}]")
        case kind:
            return f"[{kind}: {block.get('mimeType') or 'binary'}]"


def _header(name: str) -> str:
    """A tool's name as a header value; what a model made up may be anything, and is then refused by its name."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in name)[:200]
