"""The labelled texts: `*.jsonl` files as data/README.md describes them, read strictly."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models_node.errors import RoutingTextsError
from models_node.routing.head import DATA, LABELS

TRAINING, EVALUATION = DATA / "train", DATA / "eval"
KEYS = {"text", "before", "label", "language", "kind"}


@dataclass(frozen=True, slots=True)
class Labelled:
    """text: the last user turn. before: earlier ones, oldest first. writer: what its file's name begins with, up to
    the first dash: who wrote it."""

    text: str
    before: tuple[str, ...]
    label: str
    language: str
    kind: str
    writer: str

    @property
    def turns(self) -> tuple[str, ...]:
        return (*self.before, self.text)


def read_texts(places: Iterable[Path]) -> list[Labelled]:
    """Of files, and of the `*.jsonl` in folders, in the order of their names. Raises RoutingTextsError."""
    files = [file for place in places for file in (sorted(place.glob("*.jsonl")) if place.is_dir() else [place])]
    try:
        return [text for file in files for text in _of_file(file)]
    except (OSError, UnicodeDecodeError) as error:
        raise RoutingTextsError(f"texts cannot be read: {error}") from None


def sha256_of(texts: Sequence[Labelled]) -> str:
    """Of what is learned from: turns and labels, in order."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(json.dumps([text.turns, text.label], ensure_ascii=False).encode())
    return digest.hexdigest()


def _of_file(file: Path) -> list[Labelled]:
    writer = file.stem.split("-", 1)[0]
    lines = file.read_text(encoding="utf-8").splitlines()
    return [_parsed(line, f"{file}:{number}", writer) for number, line in enumerate(lines, 1) if line.strip()]


def _parsed(line: str, where: str, writer: str) -> Labelled:
    try:
        said = json.loads(line)
    except ValueError as error:
        raise RoutingTextsError(f"{where}: not JSON: {error}") from None
    if not isinstance(said, dict) or set(said) - KEYS:
        raise RoutingTextsError(f"{where}: an object with the keys {', '.join(sorted(KEYS))} is expected")
    text, before = said.get("text"), said.get("before", [])
    if not isinstance(text, str) or not text.strip():
        raise RoutingTextsError(f"{where}: `text` must be a text that is not empty")
    if not isinstance(before, list) or not all(isinstance(turn, str) for turn in before):
        raise RoutingTextsError(f"{where}: `before` must be a list of texts")
    if said.get("label") not in LABELS:
        raise RoutingTextsError(f"{where}: `label` must be one of {', '.join(LABELS)}")
    language, kind = said.get("language", "und"), said.get("kind", "plain")
    return Labelled(text, tuple(before), said["label"], str(language), str(kind), writer)
