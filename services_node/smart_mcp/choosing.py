"""One choice of tools for a query: what the routes and the protocol share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Counter, Histogram

from services_node.smart_mcp.parts import Parts
from services_node.smart_mcp.selection import Chosen, Index
from wire.errors import Unavailable

By = Literal["lexical", "lexical+embeddings"]
CHOICES = Counter("smart_mcp_choices", "Choices of tools, by what they were made with.", ["by", "offered"])
SECONDS = Histogram(
    "smart_mcp_choice_seconds",
    "Of one choice.",
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.03, 0.1),
)


@dataclass(frozen=True, slots=True)
class Choice:
    """considered: tools that were looked at. unknown: names that were allowed and that no tool has."""

    tools: list[Chosen]
    considered: int
    by: By
    unknown: list[str]


def index_of(parts: Parts) -> Index:
    """Raises Unavailable while 5003 has never answered: nothing is made up meanwhile."""
    index = parts.catalogue.index
    if index is None:
        raise Unavailable(
            f"No tools are known yet: the MCP server has not answered ({parts.catalogue.state}). Is it up? "
            "./capibara6 status",
            code="tools_unknown",
            retry_after_seconds=1,
        )
    return index


async def choose(parts: Parts, query: str, *, limit: int, allowed: Collection[str] | None = None) -> Choice:
    """Raises Unavailable (`tools_unknown`)."""
    index = index_of(parts)
    with SECONDS.time():
        likeness = await parts.meaning.likeness(query) if index.wants_meaning else None
        names = frozenset(allowed) if allowed is not None else None
        tools = index.select(query, limit=limit, allowed=names, likeness=likeness)
    by: By = "lexical" if likeness is None else "lexical+embeddings"
    CHOICES.labels(by, "some" if tools else "none").inc()
    known = {tool.name for tool in index.tools}
    considered = len(known) if names is None else len(known & names)
    return Choice(tools, considered, by, sorted((names or frozenset()) - known))
