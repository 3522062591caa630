"""The head in the repository is what `routes train` makes of the texts in the repository."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from models_node.catalogue import read_catalogue
from models_node.routing.decide import Decider
from models_node.routing.encoder import load_encoder
from models_node.routing.evaluation import Outcome, outcomes, report
from models_node.routing.head import PACKAGED_HEAD, Head, load_head
from models_node.routing.language import EldIdentifier
from models_node.routing.meaning import Encoder, Limits, Meaning
from models_node.routing.packaged import Floats
from models_node.routing.semantic import rules_of
from models_node.routing.texts import EVALUATION, TRAINING, read_texts
from models_node.routing.training import train
from stack.settings import REPOSITORY, Settings

# Processors compute the 8-bit products of the encoder a little differently.
LEAST_AGREEMENT = 0.98


class Kept:
    """An encoder that computes each text once: two heads are judged on the same ones."""

    def __init__(self, encoder: Encoder) -> None:
        self.name = encoder.name
        self.features: Callable[[str], Floats] = functools.cache(encoder.features)


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings()


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_stored_head_is_rebuilt_from_its_texts_and_decides_the_same(settings: Settings) -> None:
    encoder = Kept(load_encoder(Limits(settings.routing_max_tokens, settings.routing_threads)))
    stored = load_head(PACKAGED_HEAD, encoder.name)
    trained = train(read_texts([TRAINING]), encoder)
    assert trained.head.provenance == stored.provenance, "run ./capibara6 routes train, and commit the head"
    catalogue = read_catalogue(REPOSITORY / "models_node" / "catalog.local.toml")
    decider = Decider(catalogue, rules_of(settings), EldIdentifier())
    domains = {entry.id: entry.domain for entry in catalogue.models}
    texts = read_texts([EVALUATION])

    def judged(head: Head) -> list[Outcome]:
        meaning = Meaning(encoder, head)
        return outcomes(texts, lambda query: decider.decide(query, {}, meaning), domains)

    ours, anew = judged(stored), judged(trained.head)
    same = sum(one.chosen == other.chosen for one, other in zip(ours, anew, strict=True))
    assert same / len(texts) >= LEAST_AGREEMENT
    assert report(ours).accuracy >= 0.85
    assert min(trained.held_out.values()) >= 0.85
