"""The one-token probe: whether an engine still generates, asked of the engine itself."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from models_node.catalogue import ModelEntry
from models_node.errors import EngineFailed

FIRST = -1  # ahead of every request, for vLLM's priority scheduling serves lower numbers earlier


class OneTokenProber:
    """timeout_seconds: what an engine has for one token, its present step included."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds

    async def probe(self, entry: ModelEntry, socket: Path) -> None:
        """Raises EngineFailed when no token came in time, or the engine says that it is broken."""
        path, body = question(entry)
        timeout = aiohttp.ClientTimeout(total=self._timeout_seconds)
        try:
            async with (
                aiohttp.ClientSession(
                    "http://engine", connector=aiohttp.UnixConnector(str(socket), force_close=True), timeout=timeout
                ) as session,
                session.post(path, json=body) as reply,
            ):
                await reply.read()
                if reply.status >= 500:
                    raise EngineFailed(f"its probe was answered with status {reply.status}")
        except TimeoutError:
            raise EngineFailed(f"no token came within {self._timeout_seconds:.0f} s of a probe") from None
        except (aiohttp.ClientError, OSError) as error:
            raise EngineFailed(f"its probe failed: {error}") from None


def question(entry: ModelEntry) -> tuple[str, dict[str, object]]:
    """Path and body of the smallest request that makes the model work."""
    if entry.capabilities.embeddings:
        return "/v1/embeddings", {"model": entry.id, "input": "."}
    return "/v1/completions", {
        "model": entry.id, "prompt": ".", "max_tokens": 1, "temperature": 0, "priority": FIRST,
    }  # fmt: skip
