"""Idempotency-Keys: the same key with the same request is answered with the same sandbox, for a while."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from models_node.sandbox.errors import key_reused, too_many_keys
from models_node.sandbox.gateway.limits import KEY_SECONDS, KEYS_KEPT
from wire.errors import InvalidRequest

KEY_CHARS = 255

Reply = dict[str, Any]


@dataclass(slots=True)
class Entry:
    digest: bytes
    task: asyncio.Task[Reply]
    since: float


class Keys:
    """A creation with a key goes on when its client leaves: that client may come back with the key."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._entries: OrderedDict[tuple[str, str], Entry] = OrderedDict()
        self._clock = clock

    async def once(self, owner: str, key: str, request: bytes, make: Callable[[], Awaitable[Reply]]) -> Reply:
        """What `make` returns, called once for each key. Its failures are told and not remembered.

        Raises ApiError: 422 for a key that came with another request, 409 when too many are under way.
        """
        if not key.isascii() or not key.isprintable() or not 1 <= len(key) <= KEY_CHARS:
            raise InvalidRequest(f"Idempotency-Key: 1 to {KEY_CHARS} printable characters.", param="Idempotency-Key")
        self._expire()
        digest = hashlib.sha256(request).digest()
        entry = self._entries.get((owner, key))
        if entry is None:
            if len(self._entries) >= KEYS_KEPT:
                raise too_many_keys()
            entry = Entry(digest, asyncio.ensure_future(_awaited(make)), self._clock())
            self._entries[owner, key] = entry
            entry.task.add_done_callback(lambda task: self._done(owner, key, task))
        elif entry.digest != digest:
            raise key_reused()
        return await asyncio.shield(entry.task)

    async def close(self) -> None:
        tasks = [entry.task for entry in self._entries.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, owner: str, key: str, task: asyncio.Task[Reply]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._entries.pop((owner, key), None)

    def _expire(self) -> None:
        oldest = self._clock() - KEY_SECONDS
        for key, entry in tuple(self._entries.items()):
            if not entry.task.done():
                continue
            if entry.since <= oldest or len(self._entries) >= KEYS_KEPT:
                del self._entries[key]
            else:
                return


async def _awaited(make: Callable[[], Awaitable[Reply]]) -> Reply:
    return await make()
