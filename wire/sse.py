"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): only `data` is used here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
MEDIA_TYPE = "text/event-stream"


def encode(data: dict[str, Any]) -> bytes:
    """One event whose data is a JSON object."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def comment(text: str) -> bytes:
    """A line that readers pass over, and that keeps a silent stream alive."""
    return f": {text}\n\n".encode()


async def iter_data(
    chunks: AsyncIterator[bytes], on_comment: Callable[[str], None] | None = None
) -> AsyncIterator[str]:
    """The data of each event of a byte stream, however it is cut into chunks. An unfinished last event is dropped.

    on_comment: is told the text of each comment.
    """
    buffer = b""
    lines: list[str] = []
    async for chunk in chunks:
        buffer += chunk
        *complete, buffer = buffer.split(b"\n")
        for raw in complete:
            line = raw.rstrip(b"\r")
            if not line:
                if lines:
                    yield "\n".join(lines)
                    lines = []
            elif line.startswith(b"data:"):
                lines.append(line[5:].removeprefix(b" ").decode("utf-8", "replace"))
            elif on_comment is not None and line.startswith(b":"):
                on_comment(line[1:].strip().decode("utf-8", "replace"))
