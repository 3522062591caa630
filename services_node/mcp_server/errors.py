"""What can go wrong in a call. A tool's own failure becomes a result with `isError`; the rest are protocol errors."""

from __future__ import annotations


class CallError(Exception):
    """CallError
    ├── ToolFailed          the work could not be done: the model is told why, and what it can do about it
    │   ├── BadArguments    the arguments do not fit the tool: named, with what is expected
    │   └── Busy            as many calls run as may
    ├── UnknownTool         no tool has this name
    ├── UnknownPrompt       no prompt has this name
    ├── UnknownResource     no resource has this URI, or the caller may not see it
    └── BadCursor           a cursor that this server did not give

    `reason` is for the model and for people: one or two sentences, without our insides.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ToolFailed(CallError):
    """source: the host whose words the reason is, where they come from outside."""

    def __init__(self, reason: str, source: str | None = None) -> None:
        super().__init__(reason)
        self.source = source


class BadArguments(ToolFailed):
    pass


class Busy(ToolFailed):
    pass


class UnknownTool(CallError):
    pass


class UnknownPrompt(CallError):
    pass


class UnknownResource(CallError):
    pass


class BadCursor(CallError):
    pass
