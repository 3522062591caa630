"""`search_conversations`: what was said before, by its words."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services_node.mcp_server.asking import asking
from services_node.mcp_server.registry import Call, Registry

registry = Registry()


class Hit(BaseModel):
    """A message that fits."""

    model_config = ConfigDict(extra="ignore")

    conversation_id: str
    title: str | None = None
    message_id: str
    role: str
    created_at: str
    snippet: str


class Hits(BaseModel):
    """The messages that fit, the best first."""

    query: str
    results: list[Hit]

    def text(self) -> str:
        if not self.results:
            return f"No message of earlier conversations fits `{self.query}`. Try other or fewer words."
        return "\n".join(
            f"- {one.created_at[:10]} {one.role} in “{one.title or 'untitled'}” ({one.conversation_id}): {one.snippet}"
            for one in self.results
        )


@registry.tool(
    title="Search conversations",
    read_only=True,
    idempotent=True,
    untrusted=True,  # old answers may repeat pages
    marked=False,
    timeout_seconds=15,
    cost="cheap",
    examples=(
        ('What did we say about the budget?', {'query': 'budget'}),
        ('Busca en mis conversaciones la contraseña del wifi', {'query': 'contraseña wifi'}),
    ),
    keywords={
        "es": ("conversación", "conversaciones", "chat", "busca", "buscar", "hablamos", "dijimos", "dije", "anterior",
               "historial", "recuerdas", "mensaje", "mensajes"),
        "en": ("conversation", "conversations", "chat", "search", "find", "talked", "discussed", "said", "earlier",
               "history", "remember", "message", "messages", "previous"),
    },
)  # fmt: skip
async def search_conversations(
    query: Annotated[str, Field(min_length=1, max_length=500, description="Words to look for, in any language.")],
    limit: Annotated[int, Field(ge=1, le=20, description="How many messages at most.")] = 5,
    *,
    call: Call,
) -> Hits:
    """Searches the user's earlier conversations for messages with these words."""
    with asking("conversation"):
        found = await call.parts.assistant.search_conversations(query, limit)
    return Hits(query=query, results=[Hit.model_validate(one) for one in found[:limit]])
