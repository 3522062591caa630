"""What the service lives from, made once a process."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from services_node.tts_server import metrics
from services_node.tts_server.admission import Places
from services_node.tts_server.asking import Read
from services_node.tts_server.cache import AudioCache
from services_node.tts_server.engines.contract import Engines
from stack.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    settings: Settings
    engines: Engines
    read: Read
    places: Places
    cache: AudioCache

    async def close(self) -> None:
        """Ends every engine. Called once, when the service stops."""
        await self.engines.close()


def make_parts(settings: Settings, engines: Engines, read: Read) -> Parts:
    places = Places(settings.tts_concurrent, settings.tts_queue, settings.tts_queue_seconds)
    cache = AudioCache(settings.tts_cache_bytes)
    metrics.SPEAKING.set_function(lambda: places.taken)
    metrics.WAITING.set_function(lambda: places.waiting)
    metrics.CACHE_BYTES.set_function(lambda: cache.bytes)
    return Parts(settings, engines, read, places, cache)


def parts_of(request: Request) -> Parts:
    found: Parts = request.app.state.parts
    return found
