"""The packaged encoder: its file is what this code knows, its tokens are cut to a stated number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models_node.errors import RouterUnavailable
from models_node.routing.encoder import TAPS, E5Encoder, both_ends, cut, load_encoder
from models_node.routing.meaning import Limits
from models_node.routing.packaged import dequantised, packaged_file, read_packaged

TOKENS = 32


@pytest.fixture(scope="module")
def encoder() -> E5Encoder:
    return load_encoder(Limits(TOKENS, 1))


def test_a_text_is_tokens_between_two_marks(encoder: E5Encoder) -> None:
    first, *middle, last = encoder.tokens("¿Qué es TLS?")
    assert (first, last) == (0, 2)
    assert 5 < len(middle) < 15


def test_other_forms_of_the_same_characters_are_the_same_tokens(encoder: E5Encoder) -> None:
    assert encoder.tokens("ﬁn  de año １２") == encoder.tokens("fin de año 12")


def test_a_long_text_is_cut_in_its_middle(encoder: E5Encoder) -> None:
    whole = encoder.tokens("first " + "middle " * 10_000 + "last")
    assert len(whole) == TOKENS
    assert whole[:4] == encoder.tokens("first")[:4]
    assert whole[-2:] == encoder.tokens("last")[-2:]


def test_a_text_without_spaces_or_end_is_cut_before_it_is_tokenized(encoder: E5Encoder) -> None:
    assert len(encoder.tokens("a" * 1_000_000)) <= TOKENS


def test_features_are_finite_and_the_same_each_time(encoder: E5Encoder) -> None:
    one, two = (encoder.features("how does TLS work") for _ in range(2))
    assert one.shape == (2 * len(TAPS) * 384,)
    assert np.isfinite(one).all()
    assert np.array_equal(one, two)


@pytest.mark.parametrize("text", ["", " ", "\n", "\x00", "\ud83d", "🙂"])
def test_every_text_has_features(encoder: E5Encoder, text: str) -> None:
    assert np.isfinite(encoder.features(text)).all()


def test_the_same_question_in_two_languages_is_nearer_than_another_one(encoder: E5Encoder) -> None:
    spanish, english, other = (
        encoder.features(text)
        for text in ("¿Cómo funciona el cifrado TLS?", "How does TLS encryption work?", "Write a birthday wish for mum")
    )
    assert np.linalg.norm(spanish - english) < np.linalg.norm(spanish - other)


def test_four_bit_blocks_are_scale_and_two_halves() -> None:
    block = np.zeros(18, np.uint8)
    block[:2] = np.array([0.5], "<f2").view(np.uint8)
    block[2:] = 0x08
    block[2] = 0x9F
    values = dequantised(block)
    assert values.shape == (32,)
    assert (values[0], values[1], values[16], values[17]) == (3.5, 0, 0.5, -4)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"E5S1", b"E5S1" + b"\x00" * 64])
def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "other.bin"
    file.write_bytes(content)
    with pytest.raises(RouterUnavailable, match=r"other\.bin"):
        read_packaged(file)


def test_the_packaged_file_has_the_dimensions_of_its_model() -> None:
    sizes = read_packaged(packaged_file()).dimensions
    assert (sizes.hidden, sizes.layers, sizes.heads, sizes.vocabulary) == (384, 12, 12, 250_037)


def test_cutting_keeps_both_ends() -> None:
    assert both_ends("abcdefgh", 8) == "abcdefgh"
    assert both_ends("abcdefghij", 8) == "abcdef ij"
    assert cut(list(range(10)), 8) == [0, 1, 2, 3, 4, 5, 8, 9]
