"""What the service lives from, made once a process."""

from __future__ import annotations

from dataclasses import dataclass

from services_node.smart_mcp.catalogue import Bounds, Catalogue
from services_node.smart_mcp.meaning import Meaning, MeaningRules
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import keys_needed, load_topology
from wire.clients.embeddings import EmbeddingsClient
from wire.clients.mcp import McpClient


@dataclass(frozen=True, slots=True)
class Parts:
    settings: Settings
    server: McpClient
    embedder: EmbeddingsClient
    catalogue: Catalogue
    meaning: Meaning

    async def close(self) -> None:
        """Ends every client. Called once, when the service stops."""
        await self.server.close()
        await self.embedder.close()


def make_parts(settings: Settings, secrets: Secrets | None) -> Parts:
    """secrets: None where no keys were made (tests on loopback)."""
    topology = load_topology(settings)

    def key(service: str) -> str | None:
        return secrets.services_key.get_secret_value() if secrets and keys_needed(settings, service) else None

    server = McpClient(topology.url("mcp-server"), key=key("mcp-server"), read_seconds=settings.smart_call_seconds)
    embedder = EmbeddingsClient(topology.url("model-server"), key=key("model-server"))
    bounds = Bounds(
        settings.smart_tools, settings.smart_tool_chars, settings.smart_contexts, settings.smart_context_chars
    )
    rules = MeaningRules(
        settings.smart_embeddings,
        settings.smart_embeddings_model,
        settings.smart_embeddings_ms / 1000,
        settings.smart_embeddings_look_seconds,
    )
    catalogue = Catalogue(server, bounds, settings.smart_refresh_seconds)
    return Parts(settings, server, embedder, catalogue, Meaning(embedder, rules))
