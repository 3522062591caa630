"""From labelled texts to a head. Deterministic on one machine; minutes at most.

Whoever writes the texts has a way of writing, and a head that is judged on the same writers' other texts looks better
than it is. So temperature and abstention are measured on writers held out, one after the other, and the head is then
fitted on all.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models_node.errors import RoutingTextsError
from models_node.routing.head import LABELS, Head, Provenance
from models_node.routing.meaning import Encoder, in_context
from models_node.routing.packaged import Floats
from models_node.routing.texts import Labelled, sha256_of

# Inverse strength of the penalty on weights; the best of a grid on held-out writers (docs/routing.md).
REGULARISATION = 0.02
LEANING_REGULARISATION = 0.003
# Each text is learned once as written and once without accents and capitals, as people type; the second weighs less.
PLAIN_WEIGHT = 0.3
TWINS_COSINE = 0.95  # texts of one label that are nearer count once
ITERATIONS = 1000
NEVER_LEANING = 20.0  # a bias that no text gets over, where no text has anything before it
FOLDS = 5  # where there are not two writers
# What a threshold for abstention is chosen from, and the temperatures.
ABOUT_EQUAL = 0.002  # in accuracy
THRESHOLDS = np.round(np.arange(0.25, 0.61, 0.01), 2)
TEMPERATURES = np.round(np.geomspace(0.25, 4, 81), 4)

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lessons:
    """Rows of one text each. together: its features after the turn before it. plain: the same typed in a hurry.
    alone: its features without what came before. labels: numbers into LABELS. leaning: whether something came."""

    together: Floats
    plain: Floats
    alone: Floats
    labels: Ints
    leaning: NDArray[np.bool_]

    def where(self, rows: NDArray[np.bool_] | list[int]) -> Lessons:
        return Lessons(
            self.together[rows], self.plain[rows], self.alone[rows], self.labels[rows], self.leaning[rows]
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trained:
    """head: fitted on all texts. held_out: accuracy on each writer by a head that never saw them. twins: texts left
    out because they say what another says."""

    head: Head
    held_out: dict[str, float]
    twins: int


def train(texts: Sequence[Labelled], encoder: Encoder, tell: Callable[[str], None] = lambda _: None) -> Trained:
    """Raises RoutingTextsError when a label has too few texts."""
    _check_enough(texts)
    tell(f"encoding {len(texts)} texts")
    lessons = encoded(texts, encoder)
    kept = distinct(lessons.together, lessons.labels)
    twins = len(texts) - len(kept)
    texts, lessons = [texts[at] for at in kept], lessons.where(kept)
    _check_enough(texts)
    tell(f"fitting on {len(texts)} texts")
    provenance = Provenance(encoder.name, sha256_of(texts), len(texts))
    folds = _folds(texts)
    guesses = np.zeros((len(texts), len(LABELS)), np.float32)
    for held in folds.values():
        guesses[held] = _guesses(fitted(lessons.where(~held), provenance), lessons.where(held))
    temperature = best_temperature(guesses, lessons.labels)
    abstain_below = best_threshold(_tempered(guesses, temperature), lessons.labels)
    head = replace(fitted(lessons, provenance), temperature=temperature, abstain_below=abstain_below)
    right = guesses.argmax(axis=1) == lessons.labels
    return Trained(head, {name: float(right[held].mean()) for name, held in folds.items()}, twins)


def _check_enough(texts: Sequence[Labelled]) -> None:
    counted = Counter(text.label for text in texts)
    few = [f"{label} ({counted[label]})" for label in LABELS if counted[label] < FOLDS]
    if few:
        raise RoutingTextsError(f"at least {FOLDS} different texts of each label are needed; too few: {', '.join(few)}")


def encoded(texts: Sequence[Labelled], encoder: Encoder) -> Lessons:
    together = np.stack([encoder.features(in_context(text.turns)) for text in texts])
    plain = np.stack([encoder.features(plainly(in_context(text.turns))) for text in texts])
    alone = np.stack([encoder.features(text.text) if text.before else together[at] for at, text in enumerate(texts)])
    labels = np.array([LABELS.index(text.label) for text in texts])
    return Lessons(together, plain, alone, labels, np.array([bool(text.before) for text in texts]))


def fitted(lessons: Lessons, provenance: Provenance) -> Head:
    """A head that is not calibrated yet: temperature 1, and it never abstains."""
    centre = lessons.together.mean(axis=0)
    scale = np.maximum(lessons.together.std(axis=0), 1e-6)
    both = (np.concatenate([lessons.together, lessons.plain]) - centre) / scale
    weights = np.repeat([1 - PLAIN_WEIGHT, PLAIN_WEIGHT], len(lessons.labels))
    labelling = _regression(both, np.tile(lessons.labels, 2), REGULARISATION, sample_weights=weights)
    leaning = (np.zeros((1, both.shape[1]), np.float32), np.full(1, -NEVER_LEANING, np.float32))
    if lessons.leaning.any():
        leaning = _regression((lessons.alone - centre) / scale, lessons.leaning, LEANING_REGULARISATION, balanced=True)
    return Head(*labelling, leaning[0][0], float(leaning[1][0]), centre, scale, 1.0, 0.0, provenance)


def _regression(
    features: Floats,
    wanted: NDArray[np.generic],
    strength: float,
    *,
    balanced: bool = False,
    sample_weights: NDArray[np.float64] | None = None,
) -> tuple[Floats, Floats]:
    """Weights and bias of a logistic regression. balanced: as if each class had as many texts."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=ITERATIONS, class_weight="balanced" if balanced else None)
    model.fit(features, wanted, sample_weight=sample_weights)
    return np.asarray(model.coef_, dtype=np.float32), np.asarray(model.intercept_, dtype=np.float32)


def _guesses(head: Head, lessons: Lessons) -> Floats:
    """Probabilities as Meaning.read has them."""
    guesses = head.probabilities(lessons.together)
    for row in np.flatnonzero(lessons.leaning):
        leaning = head.leaning(lessons.alone[row])
        guesses[row] = leaning * guesses[row] + (1 - leaning) * head.probabilities(lessons.alone[row])
    return guesses


def plainly(text: str) -> str:
    """As people type in a hurry: no capitals, no accents, no opening marks."""
    apart = unicodedata.normalize("NFD", text.lower())
    bare = "".join(character for character in apart if not unicodedata.combining(character))
    return bare.replace("¿", "").replace("¡", "")


def distinct(features: Floats, labels: Ints) -> list[int]:
    """Which texts count: each but those that have a near twin of the same label before them."""
    centred = features - features.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    near = (unit @ unit.T > TWINS_COSINE) & (labels[:, None] == labels[None, :])
    kept: list[int] = []
    for at in range(len(features)):
        if not near[at, kept].any():
            kept.append(at)
    return kept


def best_temperature(guesses: Floats, labels: Ints) -> float:
    """The one with which held-out probabilities are the least surprised by the labels."""
    rows = np.arange(len(labels))

    def surprise(temperature: float) -> float:
        return -float(np.log(_tempered(guesses, temperature)[rows, labels] + 1e-9).mean())

    return float(min(TEMPERATURES, key=surprise))


def best_threshold(guesses: Floats, labels: Ints) -> float:
    """Under which to leave the question to the default model: where most answers come from the right model, if what
    is left undecided goes to the general one. The highest of about equal ones: when in doubt, the cheap model."""
    general = LABELS.index("general")
    sure, best = guesses.max(axis=1), guesses.argmax(axis=1)

    def right(threshold: float) -> float:
        return float((np.where(sure < threshold, general, best) == labels).mean())

    least = max(map(right, THRESHOLDS)) - ABOUT_EQUAL
    return float(max(threshold for threshold in THRESHOLDS if right(threshold) >= least))


def _tempered(guesses: Floats, temperature: float) -> Floats:
    raised = np.power(guesses, 1 / temperature)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)


def _folds(texts: Sequence[Labelled]) -> dict[str, NDArray[np.bool_]]:
    """Who is held out together: each writer; where that would leave too little, every fifth text of a label."""
    names = sorted({text.writer for text in texts})
    by_writer = {name: np.array([text.writer == name for text in texts]) for name in names}
    labels = np.array([text.label for text in texts])
    if len(names) > 1 and all(set(labels[~held]) == set(LABELS) for held in by_writer.values()):
        return by_writer
    places = np.array([list(labels[:at]).count(label) for at, label in enumerate(labels)]) % FOLDS
    return {f"fold {fold + 1}": places == fold for fold in range(FOLDS)}
