"""What a conversation's last turn means: encoder and head together, with the features of recent texts kept.

`Encoder` is the seam: what routes, trains and explains needs `features` only, and tests bring their own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from models_node.routing.head import Head
from models_node.routing.packaged import Floats

# Of the turn before, its end: enough to tell what "and in Python?" is about.
CONTEXT_CHARS = 200
LEAST_LEANING = 0.02  # below, the turn before is not looked at
KEPT_TEXTS = 512  # features of as many, some 9 KiB each


@dataclass(frozen=True, slots=True)
class Limits:
    """tokens: longest input; more is cut out of its middle. threads: of one computation."""

    tokens: int
    threads: int


class Encoder(Protocol):
    @property
    def name(self) -> str:
        """What made the features: a head is of use only with the encoder it was trained on."""
        ...

    def features(self, text: str) -> Floats:
        """The features of one text, flat float32. Blocks for some milliseconds."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """probabilities: of each of head.LABELS. leaning: probability that the turn leans on the one before it, 0 where
    there is none."""

    probabilities: Floats
    leaning: float


class Meaning:
    """For one thread at a time."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        self._encoder = encoder
        self.head = head
        self._kept: OrderedDict[str, Floats] = OrderedDict()

    def read(self, turns: Sequence[str]) -> Reading:
        """What the last of the user's turns asks for. Blocks for some milliseconds.

        Read alone, "and in Python?" says too little; read after the turn before it, a new topic drowns in the old one.
        So both readings are mixed, by how much the turn seems to lean on what came before.
        """
        alone = self._features(turns[-1])
        probabilities = self.head.probabilities(alone)
        leaning = self.head.leaning(alone) if len(turns) > 1 else 0.0
        if leaning >= LEAST_LEANING:
            together = self.head.probabilities(self._features(in_context(turns)))
            probabilities = leaning * together + (1 - leaning) * probabilities
        return Reading(probabilities, leaning)

    def _features(self, text: str) -> Floats:
        if (known := self._kept.get(text)) is not None:
            self._kept.move_to_end(text)
            return known
        features = self._encoder.features(text)
        self._kept[text] = features
        if len(self._kept) > KEPT_TEXTS:
            self._kept.popitem(last=False)
        return features


def in_context(turns: Sequence[str]) -> str:
    """The last turn, after the end of the one before it."""
    *before, last = turns
    return f"{before[-1][-CONTEXT_CHARS:]}\n{last}" if before else last
