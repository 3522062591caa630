"""The whole decision for one request, step by step: pure but for the encoder and identifier it is given.

asked → images, tools, length → language → meaning, with the conversation's model as incumbent → waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models_node.catalogue import Catalogue, ModelEntry
from models_node.errors import model_not_found, no_vision_model
from models_node.routing.choice import Bounds, Choice, choose
from models_node.routing.facts import Eligible, eligible, estimated_tokens
from models_node.routing.head import LABELS
from models_node.routing.language import Language, LanguageIdentifier
from models_node.routing.meaning import Meaning, Reading
from models_node.routing.router import Route, RoutingQuery

# Earlier user turns that are judged again to find the conversation's model: nothing is remembered between requests.
EARLIER_TURNS = 2
MULTILINGUAL = "multilingual"


@dataclass(frozen=True, slots=True)
class Rules:
    """bounds: of the choice. language_lead: see Language.is_foreign. characters_per_token, least_answer_tokens: how
    the context a request needs is estimated."""

    bounds: Bounds
    language_lead: float
    characters_per_token: float
    least_answer_tokens: int


@dataclass(frozen=True, slots=True)
class Decision:
    """A route, and what led to it, for `explain`. probabilities: by label, None when the meaning was not looked at.
    leaning: how much the last turn leans on the one before. incumbent: the conversation's model."""

    route: Route
    needed_tokens: int = 0
    excluded: Mapping[str, str] | None = None
    language: Language | None = None
    probabilities: Mapping[str, float] | None = None
    leaning: float = 0.0
    incumbent: str | None = None
    waits: Mapping[str, float] | None = None


class Decider:
    """identifier: of languages. meaning: None while it is not loaded or cannot be."""

    def __init__(self, catalogue: Catalogue, rules: Rules, identifier: LanguageIdentifier) -> None:
        self._catalogue = catalogue
        self._rules = rules
        self._identifier = identifier

    def asked(self, query: RoutingQuery) -> Route | None:
        """The model the client named, None if the choice is ours. Raises ApiError as Router.route does."""
        if query.left_to_us:
            return None
        assert query.model is not None  # noqa: S101 - left_to_us otherwise
        entry = self._catalogue.get(query.model)
        if entry is None:
            raise model_not_found(query.model, self._catalogue.ids)
        if query.images and not entry.capabilities.vision:
            raise no_vision_model(f"model {entry.id!r} sees no images{self._who_sees()}")
        return Route(entry.id, entry.domain, "asked")

    def decide(self, query: RoutingQuery, waits: Mapping[str, float], meaning: Meaning | None) -> Decision:
        """waits: seconds until a model could begin to answer, by id. Raises ApiError as Router.route does."""
        if (asked := self.asked(query)) is not None:
            return Decision(asked)
        rules = self._rules
        needed = estimated_tokens(query, rules.characters_per_token, rules.least_answer_tokens)
        who = eligible(self._catalogue, query, needed)
        turns = tuple(turn for turn in query.texts if turn.strip())
        if len(who.entries) == 1 or not turns:
            return Decision(self._without_text(who, query), needed, who.excluded)
        language = self._identifier.identify(turns[-1])
        if language.is_foreign(rules.language_lead) and (speaking := of_domain(who.entries, MULTILINGUAL)):
            return Decision(Route(speaking.id, MULTILINGUAL, "language"), needed, who.excluded, language)
        if meaning is None:
            return Decision(self._without_text(who, query), needed, who.excluded, language)
        reading = meaning.read(turns)
        probabilities = by_label(reading)
        scores = scores_of(who.entries, probabilities)
        incumbent = self._incumbent(turns, who, meaning)
        default = self._default(who)
        choice = self._chosen(scores, waits, default, meaning, incumbent)
        route = self._route(choice, who, probabilities, scores, query)
        return Decision(route, needed, who.excluded, language, probabilities, reading.leaning, incumbent, waits)

    def _incumbent(self, turns: Sequence[str], who: Eligible, meaning: Meaning) -> str | None:
        """The model that the earlier turns came to, None where they were too vague to settle on one."""
        incumbent: str | None = None
        default = self._default(who)
        for count in range(max(1, len(turns) - EARLIER_TURNS), len(turns)):
            earlier = turns[:count]
            if self._identifier.identify(earlier[-1]).is_foreign(self._rules.language_lead):
                speaking = of_domain(who.entries, MULTILINGUAL)
                incumbent = speaking.id if speaking else incumbent
                continue
            scores = scores_of(who.entries, by_label(meaning.read(earlier)))
            choice = self._chosen(scores, {}, default, meaning, incumbent)
            incumbent = incumbent if choice.reason == "abstained" else choice.model
        return incumbent

    def _chosen(
        self,
        scores: Mapping[str, float],
        waits: Mapping[str, float],
        default: ModelEntry,
        meaning: Meaning,
        incumbent: str | None,
    ) -> Choice:
        return choose(
            scores,
            waits,
            self._rules.bounds,
            default=default.id,
            abstain_below=meaning.head.abstain_below,
            incumbent=incumbent,
        )

    def _route(
        self,
        choice: Choice,
        who: Eligible,
        probabilities: Mapping[str, float],
        scores: Mapping[str, float],
        query: RoutingQuery,
    ) -> Route:
        """The choice, with the fact for its reason where a fact kept the likeliest model out."""
        label = max(probabilities, key=probabilities.__getitem__)
        wanted = of_domain(self._catalogue.models, label)
        reason = choice.reason
        if query.images:
            reason = "images"
        elif reason in ("meaning", "abstained") and wanted is not None and not of_domain(who.entries, label):
            reason = who.excluded.get(wanted.id, reason)
        return Route(choice.model, label, reason, probabilities[label], scores)

    def _without_text(self, who: Eligible, query: RoutingQuery) -> Route:
        default = self._default(who)
        if query.images:
            return Route(default.id, default.domain, "images")
        return Route(default.id, default.domain, who.excluded.get(self._catalogue.default, "default"))

    def _default(self, who: Eligible) -> ModelEntry:
        """The catalogue's default where it is eligible, else the foremost that is."""
        return next((entry for entry in who.entries if entry.id == self._catalogue.default), who.entries[0])

    def _who_sees(self) -> str:
        seeing = [entry for entry in self._catalogue.models if entry.capabilities.vision]
        names = ", ".join(entry.id for entry in sorted(seeing, key=lambda entry: -entry.priority))
        return f"; these do: {names}" if names else ", and no other model of this node does"


def by_label(reading: Reading) -> dict[str, float]:
    return dict(zip(LABELS, map(float, reading.probabilities), strict=True))


def scores_of(entries: Sequence[ModelEntry], probabilities: Mapping[str, float]) -> dict[str, float]:
    """Each model's score is the probability of its domain."""
    return {entry.id: probabilities[entry.domain] for entry in entries}


def of_domain(entries: Sequence[ModelEntry], domain: str) -> ModelEntry | None:
    """The foremost of the domain."""
    of_it = [entry for entry in entries if entry.domain == domain]
    return max(of_it, key=lambda entry: entry.priority, default=None)
