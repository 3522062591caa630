"""Labelled texts are read strictly, and ours are as data/README.md promises."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from models_node.errors import RoutingTextsError
from models_node.routing.head import LABELS
from models_node.routing.texts import EVALUATION, TRAINING, read_texts, sha256_of

GOOD = {"text": "hola", "label": "general", "language": "es", "kind": "plain"}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("{", "not JSON"),
        ("[]", "object"),
        (json.dumps({**GOOD, "more": 1}), "keys"),
        (json.dumps({**GOOD, "text": " "}), "`text`"),
        (json.dumps({**GOOD, "label": "sports"}), "`label`"),
        (json.dumps({**GOOD, "before": "x"}), "`before`"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(tmp_path: Path, line: str, wrong: str) -> None:
    file = tmp_path / "w-x.jsonl"
    file.write_text(json.dumps(GOOD) + "\n\n" + line)
    with pytest.raises(RoutingTextsError, match=f"w-x.jsonl:3: .*{wrong}"):
        read_texts([tmp_path])


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RoutingTextsError, match="nowhere"):
        read_texts([tmp_path / "nowhere.jsonl"])


def test_writers_are_told_by_the_names_of_their_files(tmp_path: Path) -> None:
    (tmp_path / "team-web.jsonl").write_text(json.dumps({**GOOD, "before": ["a", "b"]}))
    [text] = read_texts([tmp_path])
    assert (text.writer, text.turns) == ("team", ("a", "b", "hola"))


def test_the_hash_follows_what_is_learned_from() -> None:
    texts = read_texts([TRAINING])
    assert sha256_of(texts) == sha256_of(read_texts([TRAINING]))
    assert sha256_of(texts) != sha256_of(texts[1:])


def test_our_texts_are_enough_and_half_spanish() -> None:
    training, evaluation = read_texts([TRAINING]), read_texts([EVALUATION])
    counted = Counter(text.label for text in training)
    assert all(counted[label] >= 300 for label in LABELS)
    assert len({text.writer for text in training}) == 3
    assert all(Counter(text.label for text in evaluation)[label] >= 60 for label in LABELS)
    for texts in (training, evaluation):
        assert 0.4 < sum(text.language == "es" for text in texts) / len(texts) < 0.6


def test_nothing_that_is_judged_was_learned() -> None:
    learned = {text.text.strip().lower() for text in read_texts([TRAINING])}
    assert not [text.text for text in read_texts([EVALUATION]) if text.text.strip().lower() in learned]
