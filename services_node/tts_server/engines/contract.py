"""What an engine is, and what passes between it and the server. Standard library only: every environment imports it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Gender = Literal["female", "male"]


@dataclass(frozen=True, slots=True)
class Voice:
    """id: as it is asked for. language: the one it was made in (BCP 47); it may speak others too."""

    id: str
    language: str
    gender: Gender | None = None


@dataclass(frozen=True, slots=True)
class Utterance:
    """One sentence to speak.

    text: words and punctuation, as they are spoken. language: `es` or `en`. voice: ids and their shares, which sum
    to 1 (engines that cannot mix get one). speed: 1 is the voice's own. deadline: `time.monotonic()` seconds at which
    its listener has nothing left to hear; the most urgent is worked on first. hurry: its first piece is to come soon.
    """

    text: str
    language: str
    voice: tuple[tuple[str, float], ...]
    speed: float = 1.0
    deadline: float = 0.0
    hurry: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """start, end: seconds from the beginning of its utterance's audio."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an utterance's audio. samples: float32, mono, within ±1, at the engine's rate, shape (n,). words:
    those that end in it."""

    samples: NDArray[np.float32]
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class Setup:
    """What an engine is made from. folder: where all engines keep their weights, each in a folder of its name.
    threads: how many it may use at once. cache: a folder it may write."""

    folder: Path
    threads: int
    cache: Path


class Engine(Protocol):
    """In the child process. Loading is its constructor's work, from a `Setup`; it raises `Missing` without weights,
    `Damaged` for some that cannot be read.

    `speak` may be called by several threads at once. It gives pieces in order; closing the iterator ends the work, and
    between two pieces it never works for long (about a second).
    """

    sample_rate: int
    mixes: bool  # whether voices can be mixed

    def voices(self) -> Sequence[Voice]: ...

    def speak(self, utterance: Utterance) -> Iterator[Chunk]:
        """Raises `Refused` for what it cannot speak: a voice it has not, a text without a sound; `Damaged` for a voice
        that cannot be read."""
        ...

    def stop(self, utterance: Utterance) -> None:
        """Nobody waits for it any more (called from another thread). An engine that looks up often enough between
        pieces does nothing here: its iterator is closed at the next one."""
        ...


EngineFactory = Callable[[Setup], Engine]


class EngineError(Exception):
    """EngineError
    ├── Missing   weights or an environment that are not there; `mend` says what to put where
    ├── Damaged   weights or a voice that are there and cannot be read; `mend` says what to do
    ├── Refused   this utterance cannot be spoken, another one may be
    └── Crashed   the engine's process ended, or failed in a way that nobody foresaw

    It crosses processes as its class's name and its words.
    """

    def __init__(self, detail: str, mend: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.mend = mend


class Missing(EngineError):
    pass


class Damaged(EngineError):
    pass


class Refused(EngineError):
    pass


class Crashed(EngineError):
    pass


# What the server sees of an engine.


@dataclass(frozen=True, slots=True)
class Spoken:
    """pcm: signed 16-bit little-endian mono samples at the engine's rate."""

    pcm: bytes
    words: tuple[Word, ...] = ()


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """state: `ready` answers at once; `idle` is started when it is asked for; `missing` can't, `mend` says why and what
    to do. voices and sample_rate are known once it has run (and for packaged engines before). speeds: the slowest and
    the fastest it can speak. languages: those it can, whatever the voice."""

    name: str
    state: Literal["ready", "starting", "idle", "missing", "failed"]
    sample_rate: int = 0
    mixes: bool = False
    voices: tuple[Voice, ...] = field(default=())
    mend: str = ""
    speeds: tuple[float, float] = (0.25, 4.0)
    languages: tuple[str, ...] = ("es", "en")


class Speaker(Protocol):
    """A running engine, as the server uses it."""

    @property
    def info(self) -> EngineInfo: ...

    def speak(self, utterance: Utterance) -> AsyncIterator[Spoken]:
        """Closing the iterator (`aclose`) stops the work. Raises Refused, Damaged, Crashed."""
        ...


class Engines(Protocol):
    """All engines, started when they are asked for."""

    def infos(self) -> Sequence[EngineInfo]: ...

    async def get(self, name: str) -> Speaker:
        """Starts it if need be. Raises Missing, Damaged, Crashed, KeyError for a name nobody has."""
        ...

    async def keep(self, name: str) -> None:
        """Has it started, and one that should always run started again whenever it has ended; never returns then."""
        ...

    async def close(self) -> None: ...
