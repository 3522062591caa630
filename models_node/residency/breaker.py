"""A model that crashes again and again is left alone for a while, with its last words in the refusal."""

from __future__ import annotations

from dataclasses import dataclass

FAILURES = 3  # in a row: once may be bad luck, and a second try often goes well
FORGET_SECONDS = 600.0  # failures further apart than this are not a row
FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 300.0


@dataclass(slots=True)
class Breaker:
    """Counts crashes in a row. Open until `open_until`; after that one more try is let through, and a failure of it
    opens the breaker again at once, for twice as long."""

    failures: int = 0
    last_failure: float = 0.0
    open_until: float = 0.0
    last_words: str | None = None

    def failed(self, now: float, words: str) -> None:
        if now - self.last_failure > FORGET_SECONDS + max(0.0, self.open_until - self.last_failure):
            self.failures = 0
        self.failures += 1
        self.last_failure, self.last_words = now, words
        if self.failures >= FAILURES:
            pause = FIRST_PAUSE_SECONDS * 2 ** (self.failures - FAILURES)
            self.open_until = now + min(pause, LONGEST_PAUSE_SECONDS)

    def worked(self) -> None:
        """An answer came to its end: whatever was wrong is over."""
        self.failures, self.open_until, self.last_words = 0, 0.0, None

    def open(self, now: float) -> bool:
        return now < self.open_until
