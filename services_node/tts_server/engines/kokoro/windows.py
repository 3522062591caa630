"""Which piece of a sentence is made of which frames: pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

SAMPLE_RATE = 24_000
FRAME_SAMPLES = 300
FRAMES_PER_SECOND = SAMPLE_RATE // FRAME_SAMPLES
CONTEXT = 8  # frames on each side that a moment of sound depends on: the generator's kernels reach 93 ms
FIRST, LARGEST = 22, 120  # frames of a piece: 0.28 s at least, 1.5 s at most. Its memory is about 0.8 MB a frame
WHOLE = 160  # frames (two seconds) that take their statistics from themselves, and from their surroundings
SURROUNDINGS = 40  # frames on each side


@dataclass(frozen=True, slots=True)
class Window:
    """Frames [start, stop) of a sentence, made from [read_from, read_to)."""

    start: int
    stop: int
    read_from: int
    read_to: int

    @property
    def seconds(self) -> float:
        """Of sound."""
        return (self.stop - self.start) / FRAMES_PER_SECOND

    @property
    def frames(self) -> int:
        """So many are computed for it."""
        return self.read_to - self.read_from


def piece(place: int, frames: int, start: int, stop: int) -> Window:
    """So many frames from `place` on, of a sentence from `start` to `stop`; what would be left and is not worth a piece
    goes with it."""
    end = place + frames
    return _window(place, stop if stop - end < FIRST else end, start, stop, CONTEXT)


def pieces(place: int, start: int, stop: int) -> list[Window]:
    """All from `place` on, each as large as it may be."""
    found: list[Window] = []
    while place < stop:
        found.append(piece(place, LARGEST, start, stop))
        place = found[-1].stop
    return found


def wholes(start: int, stop: int, quiet: Sequence[int]) -> list[Window]:
    """Of a voice of which nothing is known: all at once, or in parts of about equal length that meet where it is quiet
    (between words, at marks). quiet: frames, ascending. Each takes its own statistics, so none is short, and they
    overlap."""
    count = -(-(stop - start) // WHOLE)
    ends = [start]
    for number in range(1, count):
        wanted = start + (stop - start) * number // count
        near = [one for one in quiet if abs(one - wanted) < WHOLE // 4 and one > ends[-1]]
        ends.append(min(near, key=lambda one: abs(one - wanted)) if near else wanted)
    ends.append(stop)
    return [_window(a, b, start, stop, SURROUNDINGS) for a, b in itertools.pairwise(ends)]


def _window(start: int, stop: int, least: int, most: int, context: int) -> Window:
    return Window(start, stop, max(least, start - context), min(most, stop + context))
