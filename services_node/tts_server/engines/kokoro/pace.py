"""What speech costs on this machine, learnt as it goes, and what follows for the next piece: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from services_node.tts_server.engines.kokoro.windows import CONTEXT, FIRST, FRAMES_PER_SECOND, LARGEST

LEARNING_RATE = 0.2
SAFETY = 0.8  # of the time that there is
MARGIN = 1.5  # times what it costs, for what can wait
ROOM_FRAMES = 60  # more in a first piece for each other who shares the cores


@dataclass(slots=True)
class Pace:
    """Seconds of work for a second of computed sound: `alone` by all threads, `beside` by one while others work too.
    outline: seconds for one sound (letter) of a sentence's outline."""

    alone: float = 0.3
    beside: float = 0.5
    outline: float = 0.002

    def saw(self, took_seconds: float, frames: int, *, all_threads: bool) -> None:
        """frames: that were computed."""
        cost = took_seconds * FRAMES_PER_SECOND / frames
        if all_threads:
            self.alone += LEARNING_RATE * (cost - self.alone)
        else:
            self.beside += LEARNING_RATE * (cost - self.beside)

    def saw_outline(self, took_seconds: float, sounds: int) -> None:
        self.outline += LEARNING_RATE * (took_seconds / sounds - self.outline)

    def frames(self, slack_seconds: float, load: int, others_seconds: float = math.inf) -> int:
        """How long the next piece may be, so that it is there when its listener has heard the last, and all of `load`
        who share the cores get theirs meanwhile; others_seconds: what the poorest of them has left to hear. Who hears
        nothing yet has no last one: the more there are of them, the longer their first pieces have to last."""
        if slack_seconds <= 0:
            return min(LARGEST, FIRST + ROOM_FRAMES * (max(1, load) - 1))
        seconds = SAFETY * min(slack_seconds / max(1, load), others_seconds / 2)
        fits = seconds * FRAMES_PER_SECOND / self.alone - 2 * CONTEXT
        return int(min(LARGEST, max(FIRST, fits)))

    def calm_seconds(self, load: int) -> float:
        """Who has so much left to hear can wait for pieces that are each made by one thread: they cost less work."""
        return self.piece_seconds(LARGEST + 2 * CONTEXT, load)

    def piece_seconds(self, frames: int, load: int) -> float:
        """How long before it is to be heard a piece of so many computed frames is begun by one thread."""
        return MARGIN * max(1, load) * self.beside * frames / FRAMES_PER_SECOND

    def beginning_seconds(self, sounds: int, load: int) -> float:
        """The same of a sentence of so many sounds."""
        return MARGIN * max(1, load) * self.outline * sounds + self.calm_seconds(load)
