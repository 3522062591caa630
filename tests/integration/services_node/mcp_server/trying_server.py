"""The product's own MCP server with tools that are well, and tools that misbehave in every way we could think of."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

from fastapi import FastAPI
from mcp_types import ImageContent
from pydantic import BaseModel, Field

from services_node.mcp_server.app import SERVICE, application
from services_node.mcp_server.registry import (
    Call,
    Page,
    Registry,
    ResourceEntry,
    TextContent,
    ToolFailed,
    ToolReply,
    UnknownResource,
)
from stack.secrets import Secrets
from stack.settings import Settings
from wire.context import current
from wire.serve import serve

registry = Registry()
EVENTS: list[str] = []
RELEASED = asyncio.Event()


class Sum(BaseModel):
    total: float
    parts: int

    def text(self) -> str:
        return f"= {self.total:g}"


class Who(BaseModel):
    principal: str
    run_id: str
    trace_id: str
    conversation_id: str | None
    locale: str


class Log(BaseModel):
    lines: list[str]


def tool(timeout_seconds: float = 5, **promises: Any) -> Any:
    return lambda function: registry.tool(
        title=function.__name__, timeout_seconds=timeout_seconds, cost="cheap", keywords={"es": ("suma",)}, **promises
    )(function)


@tool(read_only=True, idempotent=True)
async def add(
    numbers: Annotated[list[float], Field(max_length=5, description="What to add.")], note: str = "", *, call: Call
) -> Sum:
    """Adds numbers."""
    if not numbers:
        raise ToolFailed("`numbers` is empty: give at least one.")
    await call.progress(1, 2, "half")
    await call.progress(2, 2, "done")
    return Sum(total=sum(numbers), parts=len(numbers))


@tool(read_only=True)
async def who(*, call: Call) -> Who:
    """Tells who calls."""
    conversation = str(call.conversation_id) if call.conversation_id else None
    trace = current().trace.trace_id
    return Who(
        principal=call.principal, run_id=str(call.run_id), trace_id=trace, conversation_id=conversation,
        locale=call.locale,
    )  # fmt: skip


@tool(read_only=True)
async def events() -> Log:
    """What happened to the others."""
    return Log(lines=EVENTS)


async def _wait(name: str) -> None:
    EVENTS.append(f"{name} began")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)  # cleaning up may wait
        EVENTS.append(f"{name} cleaned up")


@tool(timeout_seconds=0.3)
async def hang(name: str) -> Sum:
    """Never ends by itself."""
    await _wait(name)
    raise AssertionError


@tool(timeout_seconds=60)
async def work(name: str, *, call: Call) -> Sum:
    """Works until it is cancelled."""
    await call.progress(0, None, "working")
    await _wait(name)
    raise AssertionError


@tool(timeout_seconds=0.2)
async def stubborn() -> Sum:
    """Does not listen to its cancellation, until `release`."""
    EVENTS.append("stubborn began")
    while not RELEASED.is_set():
        try:
            await RELEASED.wait()
        except asyncio.CancelledError:
            EVENTS.append("stubborn was told")
    return Sum(total=0, parts=0)


@tool()
async def release() -> Sum:
    """Lets `stubborn` end."""
    RELEASED.set()
    return Sum(total=0, parts=0)


@tool()
async def flood(structured: bool = False) -> ToolReply:
    """Answers with too much."""
    if structured:
        return ToolReply(structured={"lines": ["x" * 50_000, "short"]})
    return ToolReply((TextContent(text="ñ" * 5_000_000), TextContent(text="more")))


@tool(output=Log)
async def long_log(lines: int, length: int) -> Log:
    """Answers with a long log."""
    return Log(lines=["y" * length] * lines)


@tool()
async def binary(size: int) -> ToolReply:
    """Answers with an image of so many characters, and with text that is no text."""
    return ToolReply((ImageContent(data="A" * size, mime_type="image/png"), TextContent(text="a\udcffb\x00c")))


@tool(untrusted=True, open_world=True)
async def page(words: str) -> ToolReply:
    """Answers with words from outside."""
    return ToolReply((TextContent(text=words),), source="evil.example")


@tool()
async def broken() -> Sum:
    """Has a fault."""
    raise RuntimeError("the secret of the failure")


async def names(beginning: str, call: Call) -> list[str]:
    return [name for name in ("one", "two") if name.startswith(beginning)]


async def listed(call: Call, cursor: str | None) -> Page:
    if cursor is None:
        return Page((ResourceEntry("test://things/one", "one"),), "two")
    return Page((ResourceEntry("test://things/two", "two"),))


async def unlistable(call: Call, cursor: str | None) -> Page:
    raise OSError("away")


@registry.resource("test://away/{name}", name="away", lister=unlistable)
async def away(name: str) -> str:
    """Its service is away."""
    raise OSError("the secret address of the service")


@registry.resource("test://things/{name}", name="thing", lister=listed, complete={"name": names})
async def thing(name: str, *, call: Call) -> dict[str, str]:
    """A thing by its name."""
    if name not in ("one", "two"):
        raise UnknownResource(f"There is no thing {name!r}.")
    return {"name": name, "owner": call.principal}


def create_app(settings: Settings, secrets: Secrets) -> FastAPI:
    return application(settings, secrets, registry)


if __name__ == "__main__":
    sys.exit(serve(create_app, service=SERVICE))
