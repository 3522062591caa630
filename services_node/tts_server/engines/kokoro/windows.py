"""Which piece of a sentence is made when: pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

SAMPLE_RATE = 24_000
FRAME_SAMPLES = 300
FRAMES_PER_SECOND = SAMPLE_RATE // FRAME_SAMPLES
CONTEXT = 8  # frames on each side that a moment of sound depends on: the generator's kernels reach 93 ms
FIRST, GROWTH, LARGEST = 22, 1.6, 160  # frames: 0.28 s at first, two seconds at most
WHOLE = 300  # frames (3.75 s) that are made at once where nobody waits for the beginning


@dataclass(frozen=True, slots=True)
class Window:
    """Frames [start, stop) of a sentence, made from [read_from, read_to)."""

    start: int
    stop: int
    read_from: int
    read_to: int

    @property
    def seconds(self) -> float:
        return (self.stop - self.start) / FRAMES_PER_SECOND


def hurried(start: int, stop: int, first: int = FIRST) -> list[Window]:
    """Short at first and then longer: while one is heard, the next, of up to `GROWTH` its length, is made."""
    windows: list[Window] = []
    size = float(min(max(first, FIRST), LARGEST))
    place = start
    while place < stop:
        end = place + round(size)
        if stop - end < FIRST:  # what would be left is not worth a window
            end = stop
        windows.append(_window(place, end, start, stop, CONTEXT))
        place, size = end, min(size * GROWTH, LARGEST)
    return windows


def calm(start: int, stop: int, quiet: Sequence[int]) -> list[Window]:
    """All at once, or in parts of about equal length that meet where it is quiet (between words, at marks). quiet:
    frames, ascending. Each part takes its own statistics, so none is short, and they overlap by half a second."""
    count = -(-(stop - start) // WHOLE)
    ends = [start]
    for number in range(1, count):
        wanted = start + (stop - start) * number // count
        near = [one for one in quiet if abs(one - wanted) < WHOLE // 4 and one > ends[-1]]
        ends.append(min(near, key=lambda one: abs(one - wanted)) if near else wanted)
    ends.append(stop)
    return [_window(a, b, start, stop, CONTEXT * 5) for a, b in itertools.pairwise(ends)]


def _window(start: int, stop: int, least: int, most: int, context: int) -> Window:
    return Window(start, stop, max(least, start - context), min(most, stop + context))
