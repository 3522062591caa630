"""What tools work with, made once a process: settings and clients of the other services."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from services_node.mcp_server.contexts import ContextLibrary
from services_node.mcp_server.errors import ToolFailed
from services_node.mcp_server.tools.fetching.fetch import Fetcher, FetchLimits
from services_node.mcp_server.tools.zones import zone_of
from stack.errors import ConfigurationError
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import Topology, keys_needed, load_topology
from wire.clients.assistant import AssistantClient
from wire.clients.speech import SpeechClient

DOCUMENTS = Path(__file__).resolve().parent / "documents"


@dataclass(frozen=True, slots=True)
class Parts:
    """A field that a tool needs is added here, made in `make_parts` and closed in `close`.

    reading: how many fetched pages are made into text at once.
    """

    settings: Settings
    topology: Topology
    assistant: AssistantClient
    speech: SpeechClient
    fetcher: Fetcher
    reading: asyncio.Semaphore
    contexts: ContextLibrary

    async def close(self) -> None:
        """Ends every client. Called once, when the service stops."""
        await self.assistant.close()
        await self.speech.close()


def make_parts(settings: Settings, secrets: Secrets | None) -> Parts:
    """secrets: None where no keys were made (tests on loopback)."""
    topology = load_topology(settings)

    def key(service: str) -> str | None:
        return secrets.services_key.get_secret_value() if secrets and keys_needed(settings, service) else None

    zone = _zone(settings)
    return Parts(
        settings,
        topology,
        # longer than code may take: its stream is silent meanwhile but for comments
        AssistantClient(
            topology.url("chat-api"), key=key("chat-api"), read_seconds=settings.code_max_timeout_seconds + 60
        ),
        SpeechClient(topology.url("tts-server"), key=key("tts-server"), read_seconds=settings.speech_read_seconds),
        Fetcher(
            FetchLimits(
                most_bytes=settings.fetch_max_bytes,
                seconds=settings.fetch_timeout_seconds,
                redirects=settings.fetch_redirects,
                ports=_ports(settings.fetch_ports),
            )
        ),
        asyncio.Semaphore(settings.fetch_readings),
        ContextLibrary(settings.mcp_contexts or DOCUMENTS, most_bytes=settings.mcp_context_bytes, zone=zone),
    )


def _ports(listed: str) -> frozenset[int]:
    try:
        ports = frozenset(int(one) for one in listed.split(",") if one.strip())
    except ValueError:
        ports = frozenset({0})
    if not ports or not all(0 < port < 2**16 for port in ports):
        raise ConfigurationError(
            f"settings: CAPIBARA6_FETCH_PORTS: {listed!r} is no list of ports", "write it as 80,443"
        )
    return ports


def _zone(settings: Settings) -> tzinfo:
    try:
        return zone_of(settings.time_zone)[0]
    except ToolFailed as error:
        raise ConfigurationError(
            f"settings: CAPIBARA6_TIME_ZONE: {error.reason}", "write it as Europe/Madrid"
        ) from None
