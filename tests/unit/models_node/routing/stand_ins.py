"""What routing's tests share: small catalogues, and an encoder whose features are words."""

from __future__ import annotations

import zlib

import numpy as np

from models_node.catalogue import Catalogue, parse_catalogue
from models_node.routing.choice import Bounds
from models_node.routing.decide import Rules
from models_node.routing.head import LABELS, Head, Provenance
from models_node.routing.language import Language
from models_node.routing.packaged import Floats

BOUNDS = Bounds(sticky_margin=0.2, warm_band=0.2, warm_half_seconds=10, warm_least_seconds=1)
RULES = Rules(BOUNDS, language_lead=0.2, characters_per_token=4, least_answer_tokens=10)
# A text's features: how often these words are in it. The last one is what leans on the turn before.
WORDS = (*LABELS, "and")

ENTRY = """
[[models]]
id = "{id}"
domain = "{domain}"
description = ""
context_length = {context}
weights = "w"
memory_estimate = 1
priority = {priority}
capabilities = {{ vision = {vision}, tools = {tools}, embeddings = {embeddings} }}
"""


def entry(id_: str, domain: str, **more: object) -> str:
    said = {"context": 1000, "priority": 1, "vision": False, "tools": False, "embeddings": False, **more}
    return ENTRY.format(id=id_, domain=domain, **{key: str(value).lower() for key, value in said.items()})


def catalogue(*entries: str, default: str = "g") -> Catalogue:
    return parse_catalogue(f'default = "{default}"\n[limits]\nmemory_budget = 1\n{"".join(entries)}', "test")


FIVE = catalogue(*(entry(label[0], label) for label in LABELS))


class WordEncoder:
    """Counts WORDS. `texts` is what it was asked for."""

    name = "words"

    def __init__(self) -> None:
        self.texts: list[str] = []

    def features(self, text: str) -> Floats:
        self.texts.append(text)
        return np.array([text.split().count(word) for word in WORDS], dtype=np.float32)


class UnlikeEncoder(WordEncoder):
    """Words, and what makes each text unlike every other: features drawn by its letters."""

    def features(self, text: str) -> Floats:
        drawn = np.random.default_rng(zlib.crc32(text.encode())).normal(size=32)
        return np.concatenate([super().features(text), drawn]).astype(np.float32)


def word_head(abstain_below: float = 0.3) -> Head:
    """Each label's own word speaks for it, and `and` says that the text leans on what came before."""
    width = len(WORDS)
    weights = np.zeros((len(LABELS), width), np.float32)
    np.fill_diagonal(weights, 3.0)
    leaning = np.zeros(width, np.float32)
    leaning[-1] = 20.0
    centre, scale = np.zeros(width, np.float32), np.ones(width, np.float32)
    bias = np.zeros(len(LABELS), np.float32)
    return Head(weights, bias, leaning, -10.0, centre, scale, 1.0, abstain_below, Provenance("words", "0" * 64, 5))


class SaidLanguage:
    """`fr: …` is French, and so on; everything else Spanish."""

    def identify(self, text: str) -> Language:
        code, mark, _ = text.partition(": ")
        return Language(code, 0.5, True) if mark and len(code) == 2 else Language("es", 0.0, True)
