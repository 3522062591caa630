"""The SDK's client in either era, and plain HTTP for what no good client sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

MODERN, LEGACY = "2026-07-28", "2025-11-25"
ERAS = {MODERN: MODERN, LEGACY: "legacy"}  # to the client's `mode`
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}


@asynccontextmanager
async def connected(url: str, era: str, headers: dict[str, str] | None = None) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers=headers, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=ERAS[era]) as client,
    ):
        yield client


def words(result: Any) -> str:
    return "\n".join(block.text for block in result.content if block.type == "text")


async def happened(client: Client, line: str, seconds: float = 10) -> None:
    """Waits until a tool has told this event."""

    async def seen() -> bool:
        return line in (await client.call_tool("events")).structured_content["lines"]

    await until(seen, seconds, line)


async def until(check: Callable[[], Awaitable[bool]], seconds: float, what: str) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not await check():
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


def body(method: str, params: dict[str, Any] | None = None, number: int = 1) -> bytes:
    """A request of 2026-07-28."""
    sent = {**(params or {}), "_meta": {**META, **(params or {}).get("_meta", {})}}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": sent}).encode()


def headers(method: str, name: str | None = None, version: str = MODERN) -> dict[str, str]:
    told = {**ACCEPT, "mcp-protocol-version": version, "mcp-method": method}
    return {**told, "mcp-name": name} if name else told


async def opened(http: httpx.AsyncClient, url: str, version: str = LEGACY) -> httpx.Response:
    """A session of 2025-11-25, as its `initialize` was answered."""
    params = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    asked = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    return await http.post(url, json=asked, headers=ACCEPT)
