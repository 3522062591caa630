"""What this server offers: the registries of `tools/`, `resources/` and `prompts/`, together."""

from __future__ import annotations

from services_node.mcp_server.registry import Registry

MODULES: tuple[Registry, ...] = ()  # `registry` of each module


def product_registry() -> Registry:
    """A registry with everything the product has. Raises ValueError for a name taken twice."""
    whole = Registry()
    for part in MODULES:
        whole.include(part)
    return whole
