"""A sandbox as code runs see it: plain values and two Protocols. `flows.sandboxes` fills them by the E2B SDK."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

TextStream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The sandbox a run asks for. lifetime_seconds: how long it lives from now on, unless it is asked for again."""

    owner: str
    run_id: uuid.UUID
    conversation_id: uuid.UUID | None
    lifetime_seconds: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file of a sandbox's home. path: relative to the home."""

    path: str
    size_bytes: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class CodeError:
    """What the code itself ended with, as its language says it. A limit that ended it has a name of its own."""

    name: str
    value: str
    traceback: str


@dataclass(frozen=True, slots=True)
class RawResult:
    """What the code displayed, in every form it has. texts: by form (`text`, `html`, `svg`, `chart`, …), objects where
    the form is JSON. binaries: by form (`png`, `jpeg`, `pdf`).
    """

    is_main_result: bool
    texts: Mapping[str, Any] = field(default_factory=dict)
    binaries: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Executed:
    execution_count: int | None
    error: CodeError | None


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears an execution while it runs. What they raise ends it."""

    text: Callable[[TextStream, str], Awaitable[None]]
    result: Callable[[RawResult], Awaitable[None]]


class Sandbox(Protocol):
    """Every method raises ApiError: `sandbox_lost`, `sandbox_unreachable`, `sandbox_full`, `sandbox_failed`, …"""

    @property
    def id(self) -> str: ...

    async def write(self, path: str, source: bytes | Path) -> None:
        """Puts a file into the home; folders on the way are made."""
        ...

    async def entries(self, depth: int) -> dict[str, Entry]:
        """The regular files of the home by path, hidden ones left out."""
        ...

    def read(self, path: str) -> AsyncIterator[bytes]:
        """A file's bytes, in pieces."""
        ...

    async def run(self, code: str, language: str, listener: Listener, timeout_seconds: float) -> Executed:
        """Runs code in the language's own context. Code that runs longer is interrupted and told as its error."""
        ...


@dataclass(frozen=True, slots=True)
class Opened:
    """fresh: whether it was made for this run."""

    sandbox: Sandbox
    fresh: bool


class Sandboxes(Protocol):
    async def open(self, wanted: Wanted) -> Opened:
        """The conversation's sandbox, or a new one. Raises ApiError. A conversation's is at work from here until
        `release`.
        """
        ...

    def release(self, conversation_id: uuid.UUID) -> None:
        """The conversation's sandbox is idle: it may be ended when others need its place."""
        ...

    def discard(self, sandbox: Sandbox) -> None:
        """Ends a sandbox that nobody will use again. Returns at once."""
        ...

    def forget(self, conversation_id: uuid.UUID) -> None:
        """This conversation's sandbox is not what it was: look for it anew the next time."""
        ...
