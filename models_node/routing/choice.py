"""Choosing a model from scores and waits: pure, no clocks, no models.

The order: the best score; unless too close to the conversation's model (it sticks); unless too low to mean anything
(the default answers); and at last, among models that are nearly as good, the one that can answer sooner, when that
saves enough waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Probabilities are 0 to 1.

    sticky_margin: by how much another model must lead for a conversation to change.
    warm_band: most that a model in memory may lag behind and still be taken, for an endless saving.
    warm_half_seconds: saving of waiting at which half of that band is allowed.
    warm_least_seconds: smaller savings do not count.
    """

    sticky_margin: float
    warm_band: float
    warm_half_seconds: float
    warm_least_seconds: float


@dataclass(frozen=True, slots=True)
class Choice:
    """reason: `meaning`, `abstained`, `sticky` or `warm`."""

    model: str
    reason: str


def choose(
    scores: Mapping[str, float],
    waits: Mapping[str, float],
    bounds: Bounds,
    *,
    default: str,
    abstain_below: float,
    incumbent: str | None = None,
) -> Choice:
    """scores: of every eligible model, in order of preference for equal ones; must not be empty. waits: seconds until
    a model could begin to answer (0: in memory and free); where it is missing, nothing is known and nothing saved.
    default: who answers when nothing is clear, which is when the best score is under `abstain_below`. incumbent: the
    conversation's model so far, if any."""
    best = max(scores, key=scores.__getitem__)
    settled = Choice(best, "meaning") if scores[best] >= abstain_below else Choice(default, "abstained")
    if incumbent is not None and incumbent in scores:
        settled = _kept(scores, incumbent, settled, bounds)
    return _warmer(scores, waits, settled, bounds) or settled


def _kept(scores: Mapping[str, float], incumbent: str, settled: Choice, bounds: Bounds) -> Choice:
    """The conversation's model, unless another one leads it clearly."""
    behind = max(scores.values()) - scores[incumbent]
    if settled.reason == "meaning" and behind == 0:
        return Choice(incumbent, "meaning")
    if settled.reason == "abstained" or behind < bounds.sticky_margin:
        return Choice(incumbent, "sticky")
    return settled


def _warmer(scores: Mapping[str, float], waits: Mapping[str, float], settled: Choice, bounds: Bounds) -> Choice | None:
    """A model nearly as good as the best that answers sooner than the settled one, by enough; the best of these."""
    wait = waits.get(settled.model)
    if wait is None:
        return None
    best = max(scores.values())
    near = {}
    for model, score in scores.items():
        its_wait = waits.get(model)
        if model == settled.model or its_wait is None:
            continue
        saved = wait - its_wait
        if saved >= bounds.warm_least_seconds and best - score <= allowance(saved, bounds):
            near[model] = score - allowance(its_wait, bounds)
    return Choice(max(near, key=near.__getitem__), "warm") if near else None


def allowance(saved_seconds: float, bounds: Bounds) -> float:
    """How far behind in probability this saving makes up for: rises with it, towards the whole band."""
    if saved_seconds <= 0:
        return 0.0
    if saved_seconds == float("inf"):
        return bounds.warm_band
    return bounds.warm_band * saved_seconds / (saved_seconds + bounds.warm_half_seconds)
