"""How good the router is on labelled texts: what `routes eval` and `bench routing` print."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from models_node.routing.decide import Decision
from models_node.routing.head import LABELS
from models_node.routing.router import RoutingQuery
from models_node.routing.texts import Labelled

BINS = 10  # of confidence, for the calibration error


@dataclass(frozen=True, slots=True)
class Outcome:
    """chosen: the domain of the model that would answer. confidence: of the likeliest label, None where the meaning
    was not looked at."""

    text: Labelled
    chosen: str
    label: str
    confidence: float | None
    reason: str

    @property
    def right(self) -> bool:
        return self.chosen == self.text.label


@dataclass(frozen=True, slots=True)
class Report:
    """Shares are 0 to 1. confusion: label → chosen domain → texts. calibration_error: expected difference between
    confidence and share right (ECE, ten bins) of the likeliest label."""

    texts: int
    accuracy: float
    by_language: dict[str, float]
    by_kind: dict[str, float]
    by_label: dict[str, float]
    reasons: dict[str, int]
    confusion: dict[str, dict[str, int]]
    calibration_error: float
    abstained: float


def outcomes(
    texts: Iterable[Labelled], decide: Callable[[RoutingQuery], Decision], domains: Mapping[str, str]
) -> list[Outcome]:
    """domains: of the catalogue's models, by id."""
    found = []
    for text in texts:
        route = decide(RoutingQuery(None, text.turns, characters=sum(map(len, text.turns)))).route
        found.append(Outcome(text, domains[route.model], route.label, route.confidence, route.reason))
    return found


def report(found: Sequence[Outcome]) -> Report:
    """`found` must not be empty."""
    confusion = {label: dict.fromkeys(LABELS, 0) for label in LABELS}
    reasons: dict[str, int] = defaultdict(int)
    for outcome in found:
        confusion[outcome.text.label][outcome.chosen] += 1
        reasons[outcome.reason] += 1
    return Report(
        len(found),
        share(outcome.right for outcome in found),
        grouped(found, lambda text: text.language if text.language in ("es", "en") else "other"),
        grouped(found, lambda text: text.kind),
        grouped(found, lambda text: text.label),
        dict(reasons),
        confusion,
        calibration_error(found),
        share(outcome.reason == "abstained" for outcome in found),
    )


def grouped(found: Sequence[Outcome], key: Callable[[Labelled], str]) -> dict[str, float]:
    groups: dict[str, list[bool]] = defaultdict(list)
    for outcome in found:
        groups[key(outcome.text)].append(outcome.right)
    return {name: share(groups[name]) for name in sorted(groups)}


def calibration_error(found: Sequence[Outcome]) -> float:
    bins: dict[int, list[tuple[float, bool]]] = defaultdict(list)
    for outcome in found:
        if outcome.confidence is not None:
            bin_ = min(int(outcome.confidence * BINS), BINS - 1)
            bins[bin_].append((outcome.confidence, outcome.label == outcome.text.label))
    counted = sum(map(len, bins.values()))
    apart = sum(abs(sum(sure - right for sure, right in bin_)) for bin_ in bins.values())
    return apart / counted if counted else 0.0


def share(rights: Iterable[bool]) -> float:
    values = list(rights)
    return sum(values) / len(values)


def lines(result: Report) -> list[str]:
    """For people."""
    width = max(map(len, LABELS))
    told = [
        f"{result.texts} texts: {result.accuracy:.1%} to the right model, calibration error "
        f"{result.calibration_error:.3f}, abstained {result.abstained:.1%}"
    ]
    for name, shares in (
        ("label", result.by_label),
        ("language", result.by_language),
        ("kind", result.by_kind),
    ):
        told.append(f"by {name}: " + ", ".join(f"{key} {value:.1%}" for key, value in shares.items()))
    told.append("reasons: " + ", ".join(f"{key} {value}" for key, value in sorted(result.reasons.items())))
    told.append("rows are the labels, columns where they went:")
    told.append(" " * width + "".join(f"{label[:8]:>10}" for label in LABELS))
    for label in LABELS:
        told.append(f"{label:<{width}}" + "".join(f"{result.confusion[label][chosen]:>10}" for chosen in LABELS))
    return told
