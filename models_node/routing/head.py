"""The head: features of a text to probabilities of the five labels, stored with the hash of what it was trained on.

A multinomial logistic regression over standardised features, calibrated by one temperature, and beside it a second one
that tells whether a text leans on what was said before it ("and in Python?") or stands alone. Stored as `.npz` without
pickle; `provenance` says which encoder and which texts made it, and a head is refused beside another encoder.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models_node.errors import RouterUnavailable
from models_node.routing.packaged import Floats

DATA = Path(__file__).parent / "data"
PACKAGED_HEAD = DATA / "head.npz"
LABELS = ("general", "technical", "coding", "analysis", "multilingual")
FORMAT = 2
ARRAYS = ("weights", "bias", "leaning_weights", "centre", "scale")


@dataclass(frozen=True, slots=True)
class Provenance:
    """encoder: its name. data_sha256: of the texts, in order. texts: how many counted, near twins left out."""

    encoder: str
    data_sha256: str
    texts: int


@dataclass(frozen=True, slots=True)
class Head:
    """weights: (labels, features). bias: (labels,). leaning_weights: (features,). centre, scale: of each feature.
    temperature: divides the logits; above 1 it makes the head less sure. abstain_below: a highest probability under
    this is no decision."""

    weights: Floats
    bias: Floats
    leaning_weights: Floats
    leaning_bias: float
    centre: Floats
    scale: Floats
    temperature: float
    abstain_below: float
    provenance: Provenance

    def probabilities(self, features: Floats) -> Floats:
        """Of each of LABELS, for one text (features,) or several (texts, features). Each row adds up to 1."""
        logits = self._standardised(features) @ self.weights.T + self.bias
        return softmax(logits / self.temperature)

    def leaning(self, features: Floats) -> float:
        """Probability that the one text with these features means something only after the turn before it."""
        logit = float(self._standardised(features) @ self.leaning_weights) + self.leaning_bias
        return float(1 / (1 + np.exp(-logit)))

    def _standardised(self, features: Floats) -> Floats:
        return np.asarray((features - self.centre) / self.scale, dtype=np.float32)


def softmax(logits: NDArray[np.floating]) -> Floats:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), dtype=np.float32)


def save_head(head: Head, path: Path) -> None:
    """Weights in half precision: they are compared and committed."""
    said = {
        "format": FORMAT,
        "labels": LABELS,
        "leaning_bias": head.leaning_bias,
        "temperature": head.temperature,
        "abstain_below": head.abstain_below,
        **asdict(head.provenance),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            weights=head.weights.astype(np.float16),
            bias=head.bias.astype(np.float32),
            leaning_weights=head.leaning_weights.astype(np.float16),
            centre=head.centre.astype(np.float16),
            scale=head.scale.astype(np.float16),
            said=np.frombuffer(json.dumps(said, sort_keys=True).encode(), np.uint8),
        )


def load_head(path: Path, encoder: str) -> Head:
    """The stored head. Raises RouterUnavailable when it is missing, broken, or another encoder's."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            said = json.loads(bytes(stored["said"]))
            weights, bias, leaning, centre, scale = (np.asarray(stored[name], dtype=np.float32) for name in ARRAYS)
        if said["format"] != FORMAT or tuple(said["labels"]) != LABELS:
            raise RouterUnavailable(f"{path} is of another format or has other labels; run ./capibara6 routes train")
        provenance = Provenance(said["encoder"], said["data_sha256"], said["texts"])
        thresholds = (said["temperature"], said["abstain_below"])
        head = Head(weights, bias, leaning, said["leaning_bias"], centre, scale, *thresholds, provenance)
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise RouterUnavailable(f"{path}: no usable head: {error}") from None
    if provenance.encoder != encoder:
        raise RouterUnavailable(
            f"{path} was trained with {provenance.encoder!r}, the encoder here is {encoder!r}; "
            "run ./capibara6 routes train"
        )
    return head
