"""A stored head is the one that was trained, and never used beside another encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models_node.errors import RouterUnavailable
from models_node.routing.head import load_head, save_head
from tests.unit.models_node.routing.stand_ins import WordEncoder, word_head


def test_a_stored_head_decides_as_the_trained_one(tmp_path: Path) -> None:
    save_head(word_head(), tmp_path / "new" / "head.npz")
    stored, features = load_head(tmp_path / "new" / "head.npz", "words"), WordEncoder().features("coding and")
    assert np.allclose(stored.probabilities(features), word_head().probabilities(features), atol=1e-3)
    assert stored.leaning(features) == pytest.approx(word_head().leaning(features), abs=1e-3)
    assert (stored.provenance, stored.abstain_below) == (word_head().provenance, 0.3)


def test_the_same_head_is_the_same_file(tmp_path: Path) -> None:
    save_head(word_head(), tmp_path / "a.npz")
    save_head(word_head(), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_another_encoders_head_is_refused(tmp_path: Path) -> None:
    save_head(word_head(), tmp_path / "head.npz")
    with pytest.raises(RouterUnavailable, match="routes train"):
        load_head(tmp_path / "head.npz", "letters")


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"PK\x03\x04"])
def test_a_missing_or_broken_head_is_told_by_its_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "head.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RouterUnavailable, match=r"head\.npz"):
        load_head(path, "words")
