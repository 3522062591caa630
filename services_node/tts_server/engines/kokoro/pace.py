"""Whether there is time to say a sentence as a whole: pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from services_node.tts_server.engines.kokoro.windows import FIRST, FRAMES_PER_SECOND

SECONDS_PER_SOUND = 0.056  # of speech at speed 1, measured over both languages
MARGIN_SECONDS = 0.3
BEGINNING_SECONDS = 0.3  # with less than this left, a listener hears nothing yet, or soon nothing more
LEARNING_RATE = 0.2


@dataclass(slots=True)
class Pace:
    """What a second of speech costs here, in seconds, where it is made as a whole by one thread: learnt as it goes."""

    cost: float = 0.75

    def saw(self, took_seconds: float, audio_seconds: float) -> None:
        if audio_seconds > 0:
            self.cost += LEARNING_RATE * (took_seconds / audio_seconds - self.cost)

    def needed(self, sounds: int, speed: float) -> float:
        """Seconds that a sentence of so many sounds takes as a whole."""
        return SECONDS_PER_SOUND * sounds / speed * self.cost

    def has_time(self, sounds: int, speed: float, slack_seconds: float) -> bool:
        return slack_seconds >= self.needed(sounds, speed) + MARGIN_SECONDS


def first_frames(slack_seconds: float) -> int:
    """How long the first piece may be, so that it is there when what was handed over has been heard."""
    if math.isinf(slack_seconds):
        return FIRST
    return max(FIRST, int((slack_seconds - BEGINNING_SECONDS) * FRAMES_PER_SECOND))
