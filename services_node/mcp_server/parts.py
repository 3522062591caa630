"""What tools work with, made once a process: settings and clients of the other services."""

from __future__ import annotations

from dataclasses import dataclass

from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import Topology, load_topology


@dataclass(frozen=True, slots=True)
class Parts:
    """A field that a tool needs is added here, made in `make_parts` and closed in `close`."""

    settings: Settings
    topology: Topology

    async def close(self) -> None:
        """Ends every client. Called once, when the service stops."""


def make_parts(settings: Settings, secrets: Secrets | None) -> Parts:
    """secrets: None where no keys were made (tests on loopback)."""
    return Parts(settings, load_topology(settings))
