"""A TTS server and a store of files for a turn's tests: what is spoken is told by the texts themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from db.records import FileRecord
from flows.file_store import NewFile
from wire.clients.speech import NOTHING_TO_SAY, Captioned, SpeechStream
from wire.errors import ApiError, Unavailable, UpstreamFailed, ValidationFailed
from wire.ids import uuid7

SAMPLES = 2400  # of each chunk: a tenth of a second


class Voice:
    """Two chunks a text; words in it say what goes wrong: `busy` (once), `breaks`, `mute`, `waits` (for `go`)."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.requests: list[Mapping[str, Any]] = []
        self.open = 0
        self.go, self.began = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def speak(
        self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[SpeechStream]:
        text = str(request["input"])
        self.texts.append(text)
        self.requests.append(request)
        if "mute" in text:
            raise ValidationFailed("There is nothing to say in it.", code=NOTHING_TO_SAY)
        if "busy" in text and self.texts.count(text) == 1:
            raise Unavailable("busy", code="busy", retry_after_seconds=0.001)
        if "unknown" in text:
            raise ValidationFailed("There is no such voice.", code="voice_not_found", param="voice")
        self.open += 1
        self.began.set()
        try:
            yield SpeechStream("kokoro", "ef_dora", 24000, "audio/pcm", False, self._chunks(text))
        finally:
            self.open -= 1

    async def _chunks(self, text: str) -> AsyncIterator[bytes]:
        if "waits" in text:
            await self.go.wait()
        yield b"\x01\x00" * SAMPLES
        if "breaks" in text:
            raise UpstreamFailed("The engine ended.", code="speech_broken")
        yield b"\x02\x00" * SAMPLES

    async def captions(self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Captioned:
        text = str(request["input"])
        async with self.speak(request) as stream:
            audio = b"".join([chunk async for chunk in stream.chunks])
        seconds = 2 * SAMPLES / 24000
        words = [{"word": text.split(maxsplit=1)[0], "start": 0.0, "end": seconds}]
        segment = {"text": text, "spoken": text, "language": "es", "start": 0.0, "end": seconds}
        return Captioned(audio, "kokoro", "ef_dora", 24000, seconds, words, [segment])


class Kept:
    """`flows.file_store.FileStore`, in memory."""

    def __init__(self, failure: ApiError | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.failure = failure

    async def save(self, file: NewFile, chunks: AsyncIterator[bytes], *, most_bytes: int) -> FileRecord:
        if self.failure is not None:
            raise self.failure
        data = b"".join([chunk async for chunk in chunks])
        self.files[file.name] = data
        return FileRecord(
            id=uuid7(), owner=file.owner, conversation_id=file.conversation_id, run_id=file.run_id, name=file.name,
            media_type=file.media_type, size_bytes=len(data), sha256="", storage_path="", created_at=datetime.now(UTC),
        )  # fmt: skip
