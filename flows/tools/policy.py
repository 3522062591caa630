"""What a run may call: decided before the call, whoever asked for it. Pure.

A model asks for what it read somewhere, and what it read may have been written by anyone. So the run's allowed set is
settled by its caller before the first word: a tool with side effects must stand in it by name. Once text from outside
has entered the conversation (a page, code's output, a found message), also what reaches outside must; unless the user
wrote it down, as the address of the next page.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from flows.tools.calls import Call, Outcome, Tool

RUN_PYTHON = "run_python"
_ADDRESS = re.compile(r"https?://[^\s/]+\S*$")
CONTAINED = frozenset({RUN_PYTHON})  # it acts, but in a sandbox that is the conversation's own and reaches nothing


@dataclass(frozen=True, slots=True)
class Allowed:
    """names: the tools a caller allowed; None: what has no side effects, and code in a sandbox. never: what this run
    cannot have, whoever names it."""

    names: frozenset[str] | None = None
    never: frozenset[str] = frozenset()

    def offers(self, tool: Tool) -> bool:
        """Whether the model is told of it at all."""
        if tool.name in self.never:
            return False
        if self.names is not None:
            return tool.name in self.names
        return tool.read_only or tool.name in CONTAINED

    def refuses(
        self, call: Call, tool: Tool | None, known: Collection[str], *, tainted: bool, asked: str = ""
    ) -> Outcome | None:
        """Why the call is not made, as the model reads it; None: it is. tainted: text from outside is in what the model
        has read. asked: the user's own words."""
        if tool is None:
            some = ", ".join(sorted(known)[:20]) or "none"
            return Outcome(f"There is no tool {call.name!r} here. There are: {some}.", "unknown_tool")
        named = self.names is not None and tool.name in self.names
        if not self.offers(tool):
            return Outcome(
                f"{tool.name} acts on something, and this run is not allowed to: its caller must name it in `tools`.",
                "tool_not_allowed",
            )
        if tainted and tool.open_world and not named and not _in_words(call, asked):
            return Outcome(
                f"{tool.name} reaches outside, and this run has read text from outside, which may have asked for it. "
                "Its caller must name the tool in `tools`.",
                "tool_not_allowed",
            )
        if call.arguments is None:
            return Outcome(
                f"The arguments of {tool.name} are not a JSON object. Write one with: "
                f"{', '.join(tool.input_schema.get('properties') or {}) or 'nothing'}.",
                "unreadable_arguments",
            )
        return None


def _in_words(call: Call, asked: str) -> bool:
    """Whether the call only goes to addresses that stand in what the user asked."""
    values = list((call.arguments or {}).values())
    return bool(values) and all(isinstance(value, str) and _ADDRESS.match(value) and value in asked for value in values)


BY_DEFAULT = Allowed()
