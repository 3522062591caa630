"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): only `data` is used here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
MEDIA_TYPE = "text/event-stream"


def encode(data: dict[str, Any]) -> bytes:
    """One event whose data is a JSON object."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def iter_data(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The data of each event of a byte stream, however it is cut into chunks. An unfinished last event is dropped."""
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
