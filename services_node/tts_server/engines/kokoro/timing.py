"""When each word is said, from the lengths that the model gives its sounds: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services_node.tts_server.engines.kokoro.alphabet import Sounds

FRAMES_PER_UNIT = 2  # the model counts in 25 ms
LEAD_FRAMES = 4  # kept of the silence before the first sound (50 ms)
TAIL_FRAMES = 14  # and after the last (175 ms): the pause that a mark at the end asks for is in the sounds


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a sentence's sounds are. Frames; edges: n + 1 for n sounds, the first sound from edges[0] to edges[1].
    start, stop: what is worth hearing."""

    edges: tuple[int, ...]
    start: int
    stop: int


def layout_of(durations: Sequence[float]) -> Layout:
    """durations: of each sound and the two ends, in the model's units."""
    places = [0]
    for one in durations:
        places.append(places[-1] + round(one) * FRAMES_PER_UNIT)
    first, last = places[1], places[-2]
    return Layout(tuple(places[1:-1]), max(0, first - LEAD_FRAMES), min(places[-1], last + TAIL_FRAMES))


def quiet_places(sounds: Sounds, layout: Layout) -> list[int]:
    """The middle of each gap between words."""
    return [
        (layout.edges[place] + layout.edges[place + 1]) // 2
        for place, letter in enumerate(sounds.written)
        if letter == " "
    ]


def word_frames(sounds: Sounds, layout: Layout) -> list[tuple[str, int, int]]:
    """Each word with its first and last frame. Words that are said as one (`of the`) share its time by their
    letters."""
    groups: list[tuple[int, int, int]] = []  # start, stop, how many letters
    begun = 0
    for place, letter in enumerate([*sounds.written, " "]):
        if letter == " ":
            if place > begun:
                groups.append((layout.edges[begun], layout.edges[place], place - begun))
            begun = place + 1
    placed: list[tuple[str, int, int]] = []
    for (start, stop, _), words in zip(groups, _shared(sounds.words, [size for *_, size in groups]), strict=True):
        total = sum(len(word) for word in words) or 1
        at = float(start)
        for word in words:
            end = at + (stop - start) * len(word) / total
            placed.append((word, round(at), round(end)))
            at = end
    return placed


def _shared(words: Sequence[str], sizes: Sequence[int]) -> list[list[str]]:
    """The words of each group, in order. Where there are fewer groups than words, the split whose lengths fit best:
    every group has a word as long as there are enough."""
    if not sizes:
        return []
    if len(words) == len(sizes):
        return [[word] for word in words]
    if len(words) < len(sizes):
        return [[word] for word in words] + [[] for _ in sizes[len(words) :]]
    letters = [len(word) for word in words]
    ratio = sum(sizes) / (sum(letters) or 1)
    # best[g][w]: least misfit of the first w words in the first g groups
    infinite = float("inf")
    best = [[infinite] * (len(words) + 1) for _ in range(len(sizes) + 1)]
    back = [[0] * (len(words) + 1) for _ in range(len(sizes) + 1)]
    best[0][0] = 0.0
    for group, size in enumerate(sizes, 1):
        for until in range(group, len(words) - (len(sizes) - group) + 1):
            length = 0
            for since in range(until - 1, max(group - 2, until - 5), -1):  # at most four words are ever said as one
                length += letters[since]
                cost = best[group - 1][since] + (length * ratio - size) ** 2
                if cost < best[group][until]:
                    best[group][until], back[group][until] = cost, since
    if best[-1][-1] == infinite:
        return [[word] for word in words[: len(sizes) - 1]] + [list(words[len(sizes) - 1 :])]
    groups: list[list[str]] = []
    until = len(words)
    for group in range(len(sizes), 0, -1):
        since = back[group][until]
        groups.append(list(words[since:until]))
        until = since
    return groups[::-1]
