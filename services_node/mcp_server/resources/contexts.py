"""`capibara6://contexts/{context_id}`: the team's documents."""

from __future__ import annotations

import asyncio

from services_node.mcp_server.registry import Call, Page, Registry, ResourceEntry, UnknownResource

registry = Registry()


async def list_contexts(call: Call, cursor: str | None) -> Page:
    documents = await asyncio.to_thread(call.parts.contexts.list)
    return Page(
        tuple(
            ResourceEntry(
                uri=f"capibara6://contexts/{one.id}",
                name=one.id,
                title=one.name,
                description=one.description,
                mime_type="text/markdown",
            )
            for one in documents
        )
    )


async def context_ids(beginning: str, call: Call) -> list[str]:
    documents = await asyncio.to_thread(call.parts.contexts.list)
    return [one.id for one in documents if one.id.startswith(beginning)]


@registry.resource(
    "capibara6://contexts/{context_id}",
    name="context",
    title="A document of the team",
    mime_type="text/markdown",
    lister=list_contexts,
    complete={"context_id": context_ids},
)
async def context(context_id: str, *, call: Call) -> str:
    """A document of the team, as Markdown: about the company, its technical facts, the current date."""
    try:
        return await asyncio.to_thread(call.parts.contexts.read, context_id)
    except KeyError:
        raise UnknownResource(f"There is no document `{context_id[:100]}`.") from None
