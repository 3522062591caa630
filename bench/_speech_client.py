"""A client of the speech server: one text, and when each piece of its audio was there."""

from __future__ import annotations

import time
import wave
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from bench._speech_figures import Arrival

SPEAK_SECONDS = 300.0


class Refused(RuntimeError):
    """The server answered with an error; its words."""


@dataclass(slots=True)
class Heard:
    """arrivals: of each piece. seconds: until the last one. pcm: all of it, 16 bits, mono."""

    rate: int
    arrivals: list[Arrival] = field(default_factory=list)
    pcm: bytearray = field(default_factory=bytearray)
    seconds: float = 0.0

    @property
    def first(self) -> float:
        return self.arrivals[0].at

    @property
    def audio_seconds(self) -> float:
        return len(self.pcm) / 2 / self.rate

    def save(self, file: Path) -> None:
        with wave.open(str(file), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(self.rate)
            sound.writeframes(bytes(self.pcm))


def speak(http: httpx.Client, text: str, language: str | None, model: str = "kokoro") -> Heard:
    """Has a text spoken as raw samples. Raises Refused, and RuntimeError for audio from a cache or for none."""
    asked = {"model": model, "input": text, "response_format": "pcm"} | ({"language": language} if language else {})
    began = time.perf_counter()
    with http.stream("POST", "/v1/audio/speech", json=asked) as reply:
        if reply.status_code != 200:
            raise Refused(f"{reply.status_code}: {reply.read().decode(errors='replace')[:500]}")
        if reply.headers.get("x-capibara6-cache") == "hit":
            raise RuntimeError(f"from the cache: {text!r}")
        heard = Heard(int(reply.headers.get("x-capibara6-sample-rate", 24000)))
        for piece in reply.iter_raw():
            if piece:
                heard.arrivals.append(Arrival(time.perf_counter() - began, len(piece) / 2 / heard.rate))
                heard.pcm += piece
    heard.seconds = time.perf_counter() - began
    if not heard.arrivals:
        raise RuntimeError(f"no audio for {text!r}")
    return heard


def listen_at_once(http: httpx.Client, texts: Sequence[tuple[str, str]]) -> list[Heard]:
    """Several (text, language) at the same moment."""
    with ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(lambda asked: speak(http, *asked), texts))
