"""The product's MCP server, its tools and beside them some that wait or misbehave (`python waiting_server.py`).

`GET /watch` tells what the waiting ones are at. Pages of this machine may be fetched: the tests serve some.
"""

from __future__ import annotations

import asyncio
import functools
import sys
from ipaddress import IPv4Address
from typing import Any

from fastapi import FastAPI
from mcp_types import ImageContent
from pydantic import BaseModel

from services_node.mcp_server import parts
from services_node.mcp_server.app import SERVICE, application
from services_node.mcp_server.catalogue import product_registry
from services_node.mcp_server.registry import Call, Registry, TextContent, ToolReply
from services_node.mcp_server.tools.fetching.fetch import Fetcher
from stack.secrets import Secrets
from stack.settings import Settings
from wire.addresses import Address, refused
from wire.serve import abort_connection, serve

registry = Registry()
registry.include(product_registry())
state: dict[str, Any] = {"waiting": [], "cancelled": [], "calls": []}


class Words(BaseModel):
    words: str

    def text(self) -> str:
        return self.words


def tool(phrase: str, timeout_seconds: float = 60, *, read_only: bool = True, **promises: Any) -> Any:
    """phrase: with which a question needs it."""
    return lambda function: registry.tool(
        title=function.__name__, timeout_seconds=timeout_seconds, cost="cheap", keywords={"es": (phrase,)},
        read_only=read_only, open_world=promises.pop("open_world", False), **promises,
    )(function)  # fmt: skip


@tool("espera larga", idempotent=True)
async def wait_long(name: str, *, call: Call) -> Words:
    """Waits until it is cancelled."""
    await call.progress(0, None, "waiting")
    return await _wait(name)


@tool("cuelga todo", timeout_seconds=0.5)
async def hang(name: str) -> Words:
    """Takes longer than it may."""
    return await _wait(name)


async def _wait(name: str) -> Words:
    state["waiting"].append(name)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        state["cancelled"].append(name)
        raise
    finally:
        await asyncio.sleep(0)  # cleaning up may wait
        state["waiting"].remove(name)
    raise AssertionError


@tool("eco exacto")
async def echo(words: str) -> Words:
    """Answers with what it is told."""
    state["calls"].append("echo")
    return Words(words=words)


@tool("inunda todo")
async def flood() -> ToolReply:
    """Answers with too much."""
    return ToolReply((TextContent(text="ñ" * 5_000_000),))


@tool("foto binaria")
async def picture() -> ToolReply:
    """Answers with bytes, and with text that is none."""
    return ToolReply((ImageContent(data="iVBORw0KGgo=", mime_type="image/png"), TextContent(text="a\udcffb\x00c")))


@tool("lee fuera", untrusted=True, open_world=True)
async def outside(words: str) -> ToolReply:
    """Answers with words from outside."""
    return ToolReply((TextContent(text=words),), source="evil.example")


@tool("publica fuera", open_world=True)
async def ask_outside(words: str) -> Words:
    """Sends words to somebody outside."""
    state["calls"].append("ask_outside")
    return Words(words=words)


@tool("borra ya", read_only=False)
async def remove(name: str) -> Words:
    """Removes something."""
    state["calls"].append("remove")
    return Words(words=name)


@tool("línea rota", idempotent=True)
async def breaks_once(name: str, *, call: Call) -> Words:
    """Its first call breaks the connection, the second one answers."""
    return await _break(name, call)


@tool("línea frágil", read_only=False)
async def breaks_for_good(name: str, *, call: Call) -> Words:
    """The same, but nobody says that it may be repeated."""
    return await _break(name, call)


async def _break(name: str, call: Call) -> Words:
    state["calls"].append(name)
    if state["calls"].count(name) == 1:
        abort_connection(call.exchange.request.scope)
        await asyncio.sleep(5)
    return Words(words="mended")


def refused_but_here(address: Address) -> str | None:
    return None if address == IPv4Address("127.0.0.1") else refused(address)


def create_app(settings: Settings, secrets: Secrets) -> FastAPI:
    parts.Fetcher = functools.partial(Fetcher, refusal=refused_but_here)  # type: ignore[misc,assignment]
    app = application(settings, secrets, registry)

    @app.get("/watch")
    async def watch() -> dict[str, Any]:
        return state

    return app


if __name__ == "__main__":
    sys.exit(serve(create_app, service=SERVICE))
