"""Finished audio, kept while there is room: what was said least lately goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from services_node.tts_server.engines.contract import Word

LARGEST_SHARE = 8  # an entry above this part of the whole would drive out too many others
_WORD_BYTES = 200  # about what one takes in memory, beside its text
_ENTRY_BYTES = 1_000


@dataclass(frozen=True, slots=True)
class CacheKey:
    """All that audio depends on. language: None where it was told from each sentence."""

    text: str
    engine: str
    voice: tuple[tuple[str, float], ...]
    format: str
    speed: float
    language: str | None
    normalise: bool


@dataclass(frozen=True, slots=True)
class SaidSegment:
    """A sentence that was spoken. text: the caller's. start, end: seconds from the beginning of the audio."""

    text: str
    spoken: str
    language: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Finished:
    """audio: encoded, from the first byte to the last. words: with seconds from its beginning."""

    audio: bytes
    duration_seconds: float
    words: Sequence[Word] = ()
    segments: Sequence[SaidSegment] = ()

    def size(self, key: CacheKey) -> int:
        """Bytes it takes, near enough."""
        texts = sum(len(one.text) + len(one.spoken) for one in self.segments)
        return (
            len(self.audio)
            + len(key.text)
            + texts
            + _ENTRY_BYTES
            + _WORD_BYTES * (len(self.words) + len(self.segments))
        )


@dataclass(slots=True)
class AudioCache:
    """most_bytes: 0 keeps nothing."""

    most_bytes: int
    _kept: OrderedDict[CacheKey, Finished] = field(default_factory=OrderedDict)
    _bytes: int = 0

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def largest_bytes(self) -> int:
        """An entry above this is not kept."""
        return self.most_bytes // LARGEST_SHARE

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: CacheKey) -> Finished | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: CacheKey, finished: Finished) -> None:
        """Only what is complete is kept: half a sentence would be said for ever."""
        size = finished.size(key)
        if size > self.largest_bytes:
            return
        self._forget(key)
        self._kept[key] = finished
        self._bytes += size
        while self._bytes > self.most_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: CacheKey) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self._bytes -= gone.size(key)
