"""Kokoro as an engine: sentences in, pieces of sound out, in order and the most urgent first."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from services_node.tts_server.engines.contract import Chunk, Missing, Refused, Setup, Utterance, Voice, Word
from services_node.tts_server.engines.kokoro import learning, windows
from services_node.tts_server.engines.kokoro.alphabet import LONGEST, Sounds, sounds_of
from services_node.tts_server.engines.kokoro.model import (
    FIXED,
    FRONT,
    OWN,
    Floats,
    Halt,
    Model,
    Outline,
    Statistics,
)
from services_node.tts_server.engines.kokoro.pace import BEGINNING_SECONDS, Pace, first_frames
from services_node.tts_server.engines.kokoro.timing import Layout, layout_of, quiet_places, word_frames
from services_node.tts_server.engines.kokoro.voices import StatisticsStore, Voices
from services_node.tts_server.engines.kokoro.windows import FRAMES_PER_SECOND, SAMPLE_RATE, Window
from services_node.tts_server.engines.phonemes import Phonemizer
from services_node.tts_server.engines.pool import Pool

log = logging.getLogger("tts_server.kokoro")

F = TypeVar("F")

# A clause that stands at a sentence's beginning, and something after it.
_CLAUSE = re.compile(r"^(.{6,48}?[,;:])\s+(?=(?:\S+\s+){2})")
LATEST_FACTOR = 1.5  # what can wait is begun when there is this many times its cost left
MEND = "Run `./capibara6 up` (or `./capibara6 install`) again: it is put together from packages."


def load(setup: Setup) -> Kokoro:
    """Raises Missing, Damaged."""
    folder = setup.folder / "kokoro"
    for name in (FRONT, OWN, FIXED):
        if not (folder / name).is_file():
            raise Missing(f"Kokoro is not in {folder}: there is no {name}.", MEND)
    return Kokoro(folder, setup.threads)


@dataclass(frozen=True, slots=True)
class _Phrase:
    sounds: Sounds
    text: str


@dataclass(slots=True)
class _Saying:
    """An utterance under way. said: seconds of it that were handed over."""

    utterance: Utterance
    styles: Floats
    statistics: Statistics | None
    halt: Halt
    said: float = 0.0
    submitted: list[Future[Any]] = field(default_factory=list)

    @property
    def can_hurry(self) -> bool:
        return self.statistics is not None

    @property
    def due(self) -> float:
        """When its listener will have heard all that was handed over, `time.monotonic()` seconds."""
        return self.utterance.deadline + self.said

    def waits_for(self, work: Future[F]) -> Future[F]:
        """Has it cancelled with the utterance, where it was not begun."""
        self.submitted.append(work)
        if self.halt.stopped:
            work.cancel()
        return work

    def stop(self) -> None:
        self.halt.stop()
        for work in list(self.submitted):
            work.cancel()

    def slack(self) -> float:
        return max(0.0, self.due - time.monotonic())

    def chunk(self, window: Window, samples: Floats, layout: Layout, words: deque[Word]) -> Chunk:
        self.said += len(samples) / SAMPLE_RATE
        last = window.stop >= layout.stop
        ended: list[Word] = []
        while words and (last or words[0].end <= self.said):
            ended.append(words.popleft())
        return Chunk(np.clip(samples, -1, 1), tuple(ended))


class Kokoro:
    sample_rate = SAMPLE_RATE
    mixes = True

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder, self._threads = folder, threads
        self._voices = Voices(folder / "voices")
        self._phonemes = Phonemizer()
        self._model = Model(folder, threads)
        self._statistics = StatisticsStore(folder / "statistics")
        self._pool = Pool(threads, "kokoro")
        self._pace = Pace()
        self._under_way: dict[int, _Saying] = {}
        self._learning = threading.Lock()

    def voices(self) -> Sequence[Voice]:
        return self._voices.told()

    def close(self) -> None:
        self._pool.close()
        self._phonemes.close()

    def speak(self, utterance: Utterance) -> Iterator[Chunk]:
        styles = self._voices.styles(utterance.voice)
        statistics = self._statistics.get(utterance.voice)
        saying = self._under_way[id(utterance)] = _Saying(utterance, styles, statistics, Halt())
        try:
            for phrase in self._phrases(saying):
                yield from self._say(phrase, saying)
        finally:
            self._under_way.pop(id(utterance), None)
            saying.stop()
        if statistics is None and utterance.hurry and len(utterance.voice) == 1:  # mixes are too many to keep
            self._learn_later(utterance.voice, styles)

    def stop(self, utterance: Utterance) -> None:
        if saying := self._under_way.get(id(utterance)):
            saying.stop()

    def _phrases(self, saying: _Saying) -> Iterator[_Phrase]:
        """Raises Refused where nothing of it has a sound."""
        text, language = saying.utterance.text, saying.utterance.language
        texts = deque([text])
        if saying.can_hurry and saying.slack() < BEGINNING_SECONDS and (found := _CLAUSE.match(text)):
            texts = deque([found[1], text[found.end() :]])
        silent = True
        while texts:
            text = texts.popleft()
            sounds = sounds_of(text, language, self._phonemes)
            if len(sounds.written) > LONGEST:
                texts.extendleft(reversed(_halves(text)))
            elif any(letter.isalpha() for letter in sounds.written):
                silent = False
                yield _Phrase(sounds, text)
        if silent:
            raise Refused("Nothing of it has a sound.")

    def _say(self, phrase: _Phrase, saying: _Saying) -> Iterator[Chunk]:
        """In small pieces by what is known of the voice, where its listener would run dry; else as a whole."""
        speed, length = saying.utterance.speed, len(phrase.sounds.written)
        slack = saying.slack()
        if saying.can_hurry and not self._pace.has_time(length, speed, slack):
            with self._pool.urgent():
                yield from self._hurried(phrase, saying, slack)
        else:
            yield from self._calm(phrase, saying)

    def _hurried(self, phrase: _Phrase, saying: _Saying, slack: float) -> Iterator[Chunk]:
        """One piece after the other, each with all threads to itself."""
        outline = self._outline(phrase, saying, learning.ROW, latest=float("-inf"))
        layout = layout_of(outline.durations)
        words = deque(_timed(phrase.sounds, layout, saying.said))
        for window in windows.hurried(layout.start, layout.stop, first_frames(slack)):
            work = saying.waits_for(
                self._pool.submit(
                    saying.due,
                    lambda one=window: self._model.sound(outline, one, saying.statistics, saying.halt),  # type: ignore[misc]
                    alone=True,
                )
            )
            yield saying.chunk(window, work.result(), layout, words)

    def _calm(self, phrase: _Phrase, saying: _Saying) -> Iterator[Chunk]:
        """As a whole, or in long pieces side by side, each on a thread."""
        length = len(phrase.sounds.written)
        latest = saying.due - LATEST_FACTOR * self._pace.needed(length, saying.utterance.speed)
        outline = self._outline(phrase, saying, min(length, len(saying.styles)) - 1, latest)
        layout = layout_of(outline.durations)
        words = deque(_timed(phrase.sounds, layout, saying.said))
        waiting: deque[tuple[Window, Future[Floats]]] = deque()
        due = saying.due
        try:
            for window in windows.calm(layout.start, layout.stop, quiet_places(phrase.sounds, layout)):
                at = due + (window.start - layout.start) / FRAMES_PER_SECOND
                work = saying.waits_for(
                    self._pool.submit(
                        at,
                        lambda one=window: self._timed_sound(outline, one, saying.halt),  # type: ignore[misc]
                        latest=at - LATEST_FACTOR * self._pace.cost * window.seconds,
                    )
                )
                waiting.append((window, work))
                if len(waiting) > self._threads:
                    first, sounding = waiting.popleft()
                    yield saying.chunk(first, sounding.result(), layout, words)
            while waiting:
                first, sounding = waiting.popleft()
                yield saying.chunk(first, sounding.result(), layout, words)
        finally:
            for _, work in waiting:
                work.cancel()

    def _outline(self, phrase: _Phrase, saying: _Saying, row: int, latest: float) -> Outline:
        speed = saying.utterance.speed
        work = self._pool.submit(
            saying.due,
            lambda: self._model.outline(phrase.sounds.ids, saying.styles[row], speed, saying.halt),
            latest=latest,
        )
        return saying.waits_for(work).result()

    def _timed_sound(self, outline: Outline, window: Window, halt: Halt) -> Floats:
        began = time.monotonic()
        samples = self._model.sound(outline, window, None, halt)
        self._pace.saw(time.monotonic() - began, window.seconds)
        return samples

    def _learn_later(self, voice: tuple[tuple[str, float], ...], styles: Floats) -> None:
        """So that the next time its beginning comes sooner. After everything that somebody waits for."""
        if not self._learning.acquire(blocking=False):
            return

        def work() -> None:
            try:
                found = learning.learn(self._model, self._folder, styles, self._phonemes, halt=Halt(), threads=1)
                self._statistics.put(voice, found)
            except Exception:
                log.exception("nothing was learnt of voice %s", voice)
            finally:
                self._learning.release()

        self._pool.submit(float("inf"), work, latest=float("inf"))


def _timed(sounds: Sounds, layout: Layout, already: float) -> Iterator[Word]:
    for text, start, stop in word_frames(sounds, layout):
        begun, ended = ((frame - layout.start) / FRAMES_PER_SECOND + already for frame in (start, stop))
        yield Word(text, round(begun, 3), round(ended, 3))


def _halves(text: str) -> list[str]:
    """Of a text too long for one pass, cut between words."""
    middle = text.rfind(" ", 1, len(text) // 2 + 1)
    if middle <= 0:
        middle = text.find(" ", len(text) // 2)
    if middle <= 0:
        middle = len(text) // 2
    return [text[:middle].strip(), text[middle:].strip()]
