"""The one error of a calculation."""

from __future__ import annotations

from services_node.mcp_server.errors import ToolFailed

EXAMPLES = "`17 * 23`, `15% of 80`, `5 km to miles`, `2026-11-27 + 45 days`"


class CalculationFailed(ToolFailed):
    """reason: what could not be worked out, and what to write instead, for the model that asked."""


class NotUnderstood(CalculationFailed):
    """The expression is not one of ours; its reason shows some that are."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} Examples of what is understood: {EXAMPLES}.")
