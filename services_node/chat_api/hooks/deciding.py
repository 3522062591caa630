"""What a try to tell somebody means, and when the next one is due. Pure."""

from __future__ import annotations

from dataclasses import dataclass

GONE = 410
MOST_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """status: of the receiver's reply; None where there was none. words: what was said, or what went wrong."""

    status: int | None
    words: str


@dataclass(frozen=True, slots=True)
class Retrying:
    """give_up_seconds: after which a callback is given up; hooks are kept as long as their events are."""

    first_seconds: float
    most_seconds: float
    give_up_seconds: float


@dataclass(frozen=True, slots=True)
class Had:
    """It has the event."""


@dataclass(frozen=True, slots=True)
class Again:
    error: str
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The callback will not be told any more."""

    error: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The receiver says that its address has gone for good: the hook goes, too."""


Verdict = Had | Again | GivenUp | Gone


def decided(
    answer: Answer, rules: Retrying, *, is_callback: bool, failures: int, waited_seconds: float, chance: float
) -> Verdict:
    """failures: before this try, since the receiver last had an event. waited_seconds: since the run ended. chance: 0
    to 1, so that many who failed together do not come back together.
    """
    if answer.status is not None and 200 <= answer.status < 300:
        return Had()
    if answer.status == GONE:
        return GivenUp(answer.words) if is_callback else Gone()
    if is_callback and waited_seconds >= rules.give_up_seconds:
        return GivenUp(answer.words)
    return Again(answer.words, wait_seconds(rules, failures, chance))


def wait_seconds(rules: Retrying, failures: int, chance: float) -> float:
    """Twice as long after each failure, up to the most; between half of that and all of it."""
    whole = min(rules.most_seconds, rules.first_seconds * 2.0 ** min(failures, MOST_DOUBLINGS))
    return whole * (0.5 + chance / 2)
