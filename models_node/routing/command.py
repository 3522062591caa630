"""`./capibara6 routes train | eval | explain`, in the models environment: `python -m models_node routes …`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from models_node.catalogue import Catalogue, read_catalogue
from models_node.errors import RouterUnavailable
from models_node.routing.decide import Decider, Decision
from models_node.routing.evaluation import lines, outcomes, report
from models_node.routing.head import PACKAGED_HEAD, save_head
from models_node.routing.language import EldIdentifier
from models_node.routing.meaning import Limits, Meaning
from models_node.routing.router import RoutingQuery
from models_node.routing.semantic import load_from_packages, own_head, rules_of
from models_node.routing.texts import EVALUATION, TRAINING, read_texts
from models_node.weights import catalogue_path
from stack.errors import ServiceFailed, StackError
from stack.settings import Settings, read_settings


def main(arguments: Sequence[str]) -> int:
    """Runs one command. Returns the process's exit status."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(given, read_settings()))
    except StackError as error:
        sys.stderr.write(f"capibara6: {error}\n" + (f"  mend: {error.mend}\n" if error.mend else ""))
        return error.exit_code
    except RouterUnavailable as error:
        sys.stderr.write(f"capibara6: {error}\n")
        return ServiceFailed.exit_code


def train(given: argparse.Namespace, settings: Settings) -> int:
    """Learns from our texts and the team's own, and stores the head where the model server looks for it."""
    from models_node.routing.encoder import load_encoder
    from models_node.routing.training import train as fit

    own = settings.routing_texts
    path: Path = given.output or (own_head(settings) if own else PACKAGED_HEAD)
    texts = read_texts([TRAINING, own] if own else [TRAINING])
    encoder = load_encoder(Limits(settings.routing_max_tokens, settings.routing_threads))
    trained = fit(texts, encoder, tell)
    save_head(trained.head, path)
    held_out = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in trained.held_out.items())
    tell(f"right on writers held out: {held_out}")
    tell(f"near twins left out: {trained.twins}; temperature {trained.head.temperature}; "
         f"abstains below {trained.head.abstain_below}")  # fmt: skip
    tell(f"stored in {path} (data {trained.head.provenance.data_sha256[:12]}); ./capibara6 restart model-server")
    return 0


def evaluate(given: argparse.Namespace, settings: Settings) -> int:
    texts = read_texts([given.file or EVALUATION])
    decider, meaning, catalogue = _loaded(settings)
    domains = {entry.id: entry.domain for entry in catalogue.models}
    found = outcomes(texts, lambda query: decider.decide(query, {}, meaning), domains)
    result = report(found)
    if given.json:
        tell(json.dumps(asdict(result), ensure_ascii=False))
        return 0
    for line in lines(result):
        tell(line)
    if given.wrong:
        for outcome in found:
            if not outcome.right:
                start = " ".join(outcome.text.text.split())[:90]
                tell(f"{outcome.text.label} → {outcome.chosen} ({outcome.reason}): {start}")
    return 0


def explain(given: argparse.Namespace, settings: Settings) -> int:
    turns = (*given.before, given.text)
    decider, meaning, _ = _loaded(settings)
    query = RoutingQuery(None, turns, given.images, given.tools, sum(map(len, turns)))
    meaning.read(["warm up"])
    started = time.perf_counter()
    decision = decider.decide(query, {}, meaning)
    milliseconds = (time.perf_counter() - started) * 1000
    tell(json.dumps(explained(decision, milliseconds), ensure_ascii=False, indent=2))
    return 0


def explained(decision: Decision, milliseconds: float) -> dict[str, object]:
    """Everything a decision was made of, for people."""
    route = decision.route
    return {
        "model": route.model,
        "label": route.label,
        "reason": route.reason,
        "confidence": route.confidence,
        "probabilities": decision.probabilities,
        "scores": dict(route.scores),
        "language": asdict(decision.language) if decision.language else None,
        "leaning": decision.leaning,
        "incumbent": decision.incumbent,
        "needed_tokens": decision.needed_tokens,
        "excluded": decision.excluded,
        "milliseconds": round(milliseconds, 2),
    }


def _loaded(settings: Settings) -> tuple[Decider, Meaning, Catalogue]:
    catalogue = read_catalogue(catalogue_path(settings))
    return Decider(catalogue, rules_of(settings), EldIdentifier()), load_from_packages(settings), catalogue


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="./capibara6 routes", description="Which model answers what.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    training = commands.add_parser("train", help="learn from our texts, and from CAPIBARA6_ROUTING_TEXTS")
    training.add_argument("--output", type=Path, metavar="FILE", help="where to store the head")
    training.set_defaults(run=train)
    evaluation = commands.add_parser("eval", help="judge the router on labelled texts (default: ours)")
    evaluation.add_argument("file", nargs="?", type=Path, metavar="FILE", help="a .jsonl file, or a folder of them")
    evaluation.add_argument("--json", action="store_true", help="for programs")
    evaluation.add_argument("--wrong", action="store_true", help="list what went to the wrong model")
    evaluation.set_defaults(run=evaluate)
    explaining = commands.add_parser("explain", help="show the whole decision for one text")
    explaining.add_argument("text")
    explaining.add_argument("--before", action="append", default=[], metavar="TEXT", help="an earlier user turn")
    explaining.add_argument("--images", type=int, default=0, metavar="N")
    explaining.add_argument("--tools", action="store_true")
    explaining.set_defaults(run=explain)
    return top


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
