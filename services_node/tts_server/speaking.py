"""Sentences become one stream of samples: in order, with their pauses, the next one begun before this one is heard out.

One sentence ahead and no more: the engine never idles between two, and a client that reads slowly holds the work back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol, cast

from services_node.tts_server import errors
from services_node.tts_server.cache import SaidSegment
from services_node.tts_server.encoding import SAMPLE_BYTES
from services_node.tts_server.engines.contract import Crashed, Speaker, Spoken, Utterance, Word

log = logging.getLogger("services_node.tts_server.speaking")

PIECES_AHEAD = 32  # of one utterance that wait to be fetched: more than a sentence has
PATIENCE_SECONDS = 10.0  # where nobody listens: listeners go first, and it still has its turn
STOP_SECONDS = 12.0  # for an engine to say that it has stopped: more than its process is given before it is killed
CHARACTER_SECONDS = 0.06  # of speech, at speed 1: what a sentence will take, before it is known


class Sentence(Protocol):
    """What `text` makes of a text, in order. text: as it is spoken. source: the caller's. pause_seconds: after it."""

    @property
    def text(self) -> str: ...

    @property
    def language(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def pause_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Manner:
    """How all sentences of a speech are spoken."""

    voice: tuple[tuple[str, float], ...]
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Piece:
    """pcm: 16-bit samples at the engine's rate. words: that end in it, with seconds from the speech's beginning.
    segment: the sentence that ended with it."""

    pcm: bytes
    words: tuple[Word, ...] = ()
    segment: SaidSegment | None = None


class Stopwatch:
    """Seconds in which at least one of several things was under way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._running = 0
        self._since = 0.0
        self.seconds = 0.0

    def __enter__(self) -> None:
        if not self._running:
            self._since = self._clock()
        self._running += 1

    def __exit__(self, *_: object) -> None:
        self._running -= 1
        if not self._running:
            self.seconds += self._clock() - self._since


class Speech:
    """One text being spoken. listener: whether somebody hears it as it is made; else it may take its time. working:
    seconds that the engine was waited for, to tell its speed from."""

    def __init__(
        self,
        speaker: Speaker,
        sentences: Sequence[Sentence],
        manner: Manner,
        silence_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        listener: bool = True,
    ) -> None:
        self._listener = listener
        self._speaker = speaker
        self._sentences = sentences
        self._manner = manner
        self._silence_seconds = silence_seconds
        self._clock = clock
        self._rate = speaker.info.sample_rate
        self._samples = 0  # handed over so far
        self._heard_from: float | None = None  # when the listener can have begun
        self.working = Stopwatch(clock)

    @property
    def seconds(self) -> float:
        """Of audio, handed over so far."""
        return self._samples / self._rate

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Closing it stops the engine. Raises EngineError, and ApiError for an engine that gives nothing."""
        current: _Speaking | None = None
        ahead = self._begin(0)
        try:
            for index, sentence in enumerate(self._sentences):
                current, ahead = ahead, None
                began, first = self.seconds, True
                while current is not None and (spoken := await self._next(current)) is not None:
                    piece = self._handed_over(spoken.pcm, self._shifted(spoken.words, began))
                    if first:
                        expected = began + CHARACTER_SECONDS * len(sentence.text) / self._manner.speed
                        first, ahead = False, self._begin(index + 1, expected + sentence.pause_seconds)
                    yield piece
                if current is not None:
                    await current.close()
                if first:  # it had no sound
                    ahead = self._begin(index + 1)
                said = SaidSegment(sentence.source, sentence.text, sentence.language, began, self.seconds)
                silence = bytes(SAMPLE_BYTES * round(self._rate * max(0.0, sentence.pause_seconds)))
                yield self._handed_over(silence, segment=said)
        finally:
            left = [one for one in (current, ahead) if one is not None]
            for one in left:
                one.stop()  # both first: whoever cancels again while one is waited for leaves none that goes on
            for one in left:
                await one.close()

    def _begin(self, index: int, seconds: float | None = None) -> _Speaking | None:
        """None past the end, and for a sentence that is nothing but its pause. seconds: of audio that its listener has
        before it; those handed over, where nothing else is known."""
        if index >= len(self._sentences) or not self._sentences[index].text.strip():
            return None
        sentence = self._sentences[index]
        utterance = Utterance(
            sentence.text,
            sentence.language,
            self._manner.voice,
            self._manner.speed,
            deadline=self._deadline(self.seconds if seconds is None else seconds),
            hurry=self._listener and self._heard_from is None,
        )
        return _Speaking(self._speaker, utterance, self.working)

    def _deadline(self, seconds: float) -> float:
        """When a listener has heard so many seconds."""
        if not self._listener:
            return self._clock() + PATIENCE_SECONDS
        return self._clock() if self._heard_from is None else self._heard_from + seconds

    async def _next(self, speaking: _Speaking) -> Spoken | None:
        try:
            async with asyncio.timeout(self._silence_seconds):
                return await speaking.next()
        except TimeoutError:
            raise errors.engine_silent(self._speaker.info.name, self._silence_seconds) from None

    def _handed_over(self, pcm: bytes, words: tuple[Word, ...] = (), segment: SaidSegment | None = None) -> Piece:
        if pcm and self._heard_from is None:
            self._heard_from = self._clock()
        self._samples += len(pcm) // SAMPLE_BYTES
        return Piece(pcm, words, segment)

    @staticmethod
    def _shifted(words: Iterable[Word], seconds: float) -> tuple[Word, ...]:
        return tuple(Word(word.text, word.start + seconds, word.end + seconds) for word in words)


class _Speaking:
    """One utterance under way, a few of its pieces waiting to be fetched."""

    def __init__(self, speaker: Speaker, utterance: Utterance, working: Stopwatch) -> None:
        self._pieces: asyncio.Queue[Spoken | Exception | None] = asyncio.Queue(PIECES_AHEAD)
        self._working = working
        self._task = asyncio.create_task(self._speak(speaker, utterance))
        self._task.add_done_callback(self._ended)

    async def next(self) -> Spoken | None:
        """None after the last piece. Raises what the engine raised."""
        piece = await self._pieces.get()
        if isinstance(piece, Exception):
            raise piece
        return piece

    def stop(self) -> None:
        self._task.cancel()

    async def close(self) -> None:
        """Stops the engine's work on it, and waits for that."""
        self.stop()
        done, _ = await asyncio.wait({self._task}, timeout=STOP_SECONDS)
        if not done:
            log.error("an engine did not stop speaking in time")

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Whoever waits is not left waiting where the work was cancelled by another than `close`."""
        if task.cancelled() and not self._pieces.full():
            self._pieces.put_nowait(Crashed("its work was cancelled"))

    async def _speak(self, speaker: Speaker, utterance: Utterance) -> None:
        end: Exception | None = None
        try:
            # `aclose` is part of the contract; the Protocol's type leaves it out.
            async with aclosing(cast("AsyncGenerator[Spoken, None]", speaker.speak(utterance))) as pieces:
                while True:
                    with self._working:
                        spoken = await anext(pieces, None)
                    if spoken is None:
                        break
                    await self._pieces.put(spoken)
        except Exception as error:
            end = error
        await self._pieces.put(end)
