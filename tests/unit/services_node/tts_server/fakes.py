"""Engines that hum: a tone for each word, with its times, at once or when a test lets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services_node.tts_server import errors
from services_node.tts_server.engines.contract import (
    Crashed,
    EngineInfo,
    Missing,
    Refused,
    Speaker,
    Spoken,
    Utterance,
    Voice,
    Word,
)

WORD_SECONDS = 0.25
KOKORO_VOICES = (
    Voice("af_heart", "en-US", "female"),
    Voice("af_alloy", "en-US", "female"),
    Voice("am_echo", "en-US", "male"),
    Voice("am_onyx", "en-US", "male"),
    Voice("ef_dora", "es", "female"),
    Voice("em_alex", "es", "male"),
)
KOKORO = EngineInfo("kokoro", "ready", 24_000, mixes=True, voices=KOKORO_VOICES, speeds=(0.5, 2.0))
PIPER = EngineInfo("piper", "idle", 22_050, voices=(Voice("joe", "en-US", "male"),), languages=("en",))
COQUI = EngineInfo("coqui", "missing", mend="put model.pth and config.json into var/weights/tts/coqui")


def tone(seconds: float, rate: int, hertz: float = 440.0) -> bytes:
    """16-bit samples."""
    times = np.arange(round(seconds * rate)) / rate
    return (np.sin(2 * np.pi * hertz * times) * 12_000).astype("<i2").tobytes()


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence as `text` gives them."""

    text: str
    language: str = "es"
    source: str = ""
    pause_seconds: float = 0.0


def read(text: str, language: str | None, default_language: str, normalise: bool) -> Sequence[Said]:
    """A sentence a line; `en:` begins one in English."""
    found = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        words = line.removeprefix("en:").strip()
        told = language or ("en" if line.startswith("en:") else default_language)
        found.append(Said(words, told, line))
    if not any(any(letter.isalnum() for letter in one.text) for one in found):
        raise errors.nothing_to_say()
    return found


class FakeSpeaker:
    """gate: what it waits for before each piece; unset, it speaks at once. A word `crash` ends its process, `refuse`
    is refused, `hang` never comes."""

    def __init__(self, info: EngineInfo) -> None:
        self.info = info
        self.heard: list[Utterance] = []
        self.pieces = 0
        self.open = 0  # utterances under way
        self.gate: asyncio.Semaphore | None = None

    def only(self, pieces: int) -> None:
        """Speaks so many and waits."""
        self.gate = asyncio.Semaphore(pieces)

    def allow(self, pieces: int) -> None:
        assert self.gate is not None
        for _ in range(pieces):
            self.gate.release()

    async def speak(self, utterance: Utterance) -> AsyncIterator[Spoken]:
        self.heard.append(utterance)
        self.open += 1
        try:
            for index, word in enumerate(utterance.text.split()):
                if self.gate is not None:
                    await self.gate.acquire()
                if word == "crash":
                    raise Crashed("its process ended")
                if word == "refuse":
                    raise Refused("a text without a sound")
                if word == "hang":
                    await asyncio.Event().wait()
                self.pieces += 1
                start = index * WORD_SECONDS
                yield Spoken(tone(WORD_SECONDS, self.info.sample_rate), (Word(word, start, start + WORD_SECONDS),))
        finally:
            self.open -= 1


@dataclass
class FakeEngines:
    """Engines by name. started: those asked for, in order."""

    speakers: dict[str, FakeSpeaker] = field(
        default_factory=lambda: {info.name: FakeSpeaker(info) for info in (KOKORO, PIPER, COQUI)}
    )
    started: list[str] = field(default_factory=list)
    closed: bool = False
    on_start: Callable[[], None] = lambda: None

    @property
    def kokoro(self) -> FakeSpeaker:
        return self.speakers["kokoro"]

    def infos(self) -> Sequence[EngineInfo]:
        return [speaker.info for speaker in self.speakers.values()]

    async def get(self, name: str) -> Speaker:
        self.started.append(name)
        self.on_start()
        speaker = self.speakers[name]
        if speaker.info.state == "missing":
            raise Missing("it has no weights", speaker.info.mend)
        speaker.info = replace(speaker.info, state="ready")
        return speaker

    async def keep(self, name: str) -> None:
        await self.get(name)

    async def close(self) -> None:
        self.closed = True
