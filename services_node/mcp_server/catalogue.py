"""What this server offers: the registries of `tools/`, `resources/` and `prompts/`, together."""

from __future__ import annotations

from services_node.mcp_server import prompts
from services_node.mcp_server.registry import Registry
from services_node.mcp_server.resources import assistant, contexts
from services_node.mcp_server.tools import (
    calculate,
    current_datetime,
    fetch_url,
    list_models,
    run_python,
    runs,
    search_conversations,
    speak,
)

MODULES: tuple[Registry, ...] = tuple(
    module.registry
    for module in (
        calculate,
        current_datetime,
        run_python,
        fetch_url,
        search_conversations,
        runs,
        list_models,
        speak,
        assistant,
        contexts,
        prompts,
    )
)


def product_registry() -> Registry:
    """A registry with everything the product has. Raises ValueError for a name taken twice."""
    whole = Registry()
    for part in MODULES:
        whole.include(part)
    return whole
