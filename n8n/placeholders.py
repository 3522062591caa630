"""What differs between installations and therefore stands in workflow files by name: `capibara6://NAME`. Pure.

A service's name stands for its base URL (`capibara6://chat-api/api/chat`). `services` stands for a JSON list of all
whose readiness can be asked for. `webhook-authentication` and `mcp-authentication` stand for how a webhook and an MCP
Server Trigger know their callers: as the services do, by nothing on one laptop, and by n8n's key elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from stack.settings import Settings
from stack.topology import Topology

_PLACE = re.compile(r"capibara6://([a-z0-9]+(?:-[a-z0-9]+)*)")


def meanings(settings: Settings, topology: Topology) -> dict[str, str]:
    """By name, what is written in its place."""
    asked = topology.asks_for_keys(settings.profile, "chat-api")
    return {
        **{service.name: topology.url(service.name) for service in topology.services()},
        "services": json.dumps(watched(topology)),
        "webhook-authentication": "headerAuth" if asked else "none",
        "mcp-authentication": "bearerAuth" if asked else "none",
    }


def watched(topology: Topology) -> list[dict[str, str]]:
    """The services that other nodes can ask whether they are ready: neither those that this installation leaves out,
    nor what would wait for one of those in vain."""
    return [
        {"name": service.name, "node": service.node, "url": topology.url(service.name) + service.ready_path}
        for service in topology.kept_services()
        if service.ready_path is not None and not service.only_loopback
    ]


def filled(value: Any, meant: Mapping[str, str]) -> Any:
    """A JSON value with what its texts mean. Raises KeyError with a name that means nothing."""
    if isinstance(value, str):
        return _PLACE.sub(lambda place: meant[place[1]], value)
    if isinstance(value, list):
        return [filled(one, meant) for one in value]
    if isinstance(value, dict):
        return {key: filled(one, meant) for key, one in value.items()}
    return value
