"""What the speech benchmark makes of its measurements: words heard wrong, silences a listener meets. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

NOTICED_SECONDS = 0.01  # a player's own buffer covers less
_WORD = re.compile(r"[a-z0-9]+")


def comparable(text: str) -> list[str]:
    """The words of a text, without what cannot be heard: case, accents, punctuation, hyphens."""
    plain = "".join(char for char in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(char))
    return _WORD.findall(plain.replace("'", ""))


def word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """The fewest words to leave out, put in or change that make `heard` of `said` (Levenshtein's distance)."""
    row = list(range(len(heard) + 1))
    for number, word in enumerate(said, 1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(heard, 1):
            best = min(row[place] + 1, row[place - 1] + 1, diagonal + (word != other))
            diagonal, row[place] = row[place], best
    return row[-1]


def word_error_rate(pairs: Sequence[tuple[Sequence[str], Sequence[str]]]) -> float:
    """Errors in all (said, heard) over all words that were said."""
    words = sum(len(said) for said, _ in pairs)
    return sum(word_errors(said, heard) for said, heard in pairs) / words


@dataclass(frozen=True, slots=True)
class Arrival:
    """at: seconds since the request, when this piece of audio was there. seconds: how long it plays."""

    at: float
    seconds: float


def silences(arrivals: Sequence[Arrival]) -> list[float]:
    """The silences, in seconds, that a listener meets who begins with the first piece and plays all without waiting."""
    found: list[float] = []
    if not arrivals:
        return found
    played_until = arrivals[0].at
    for arrival in arrivals:
        late = arrival.at - played_until
        if late > NOTICED_SECONDS:
            found.append(late)
        played_until = max(played_until, arrival.at) + arrival.seconds
    return found


def most_without_silence(heard: dict[int, Sequence[Sequence[Arrival]]]) -> int:
    """Of listeners at once, by their number: the largest at which none heard a silence, nor at fewer; 0 for none."""
    most = 0
    for number in sorted(heard):
        if any(silences(arrivals) for arrivals in heard[number]):
            break
        most = number
    return most
