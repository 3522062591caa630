"""Documents as parts to be spoken."""

from __future__ import annotations

import pytest

from flows.documents import parts_of, text_of
from wire.errors import ValidationFailed

CODE = "```python\n" + "\n\n".join(f"line{number} = {number}" for number in range(30)) + "\n```"


def test_small_blocks_are_spoken_together_and_large_ones_apart() -> None:
    text = "# Título\r\n\r\nUno.\n\nDos.\n\n\n" + "Tres es largo. " * 12
    parts = parts_of(text, 100)
    assert parts[0] == "# Título\n\nUno.\n\nDos."
    assert all(len(part) <= 100 for part in parts)
    assert " ".join(" ".join(parts).split()) == " ".join(text.split())


def test_what_is_cut_of_code_stays_code() -> None:
    parts = parts_of(f"Antes.\n\n{CODE}\n\nDespués.", 120)
    inside = [part for part in parts if "line" in part]
    assert len(inside) > 2 and all(len(part) <= 120 for part in parts)
    assert all(part.removeprefix("Antes.\n\n").startswith("```python\n") for part in inside)
    assert all(part.count("```") == 2 for part in inside)
    assert sum(part.count("line") for part in inside) == 30


def test_an_endless_sentence_is_cut_at_a_space_or_anywhere() -> None:
    assert parts_of("palabra " * 30, 50)[0] == " ".join(["palabra"] * 6)
    assert parts_of("x" * 120, 50) == ["x" * 50, "x" * 50, "x" * 20]


@pytest.mark.parametrize("text", ["", " \n\n\t", "```", "~~~\n\n"])
def test_odd_texts_are_cut_too(text: str) -> None:
    assert all(part.strip() for part in parts_of(text, 50))


@pytest.mark.parametrize("data", ["¡Adiós!".encode(), "¡Adiós!".encode("utf-8-sig"), "¡Adiós!".encode("utf-16")])
def test_text_is_read(data: bytes) -> None:
    assert text_of("a.txt", data) == "¡Adiós!"


@pytest.mark.parametrize(
    ("name", "data", "mend"),
    [
        ("a.pdf", b"%PDF-1.7\n\xe2\xe3\xcf\xd3", "export it as text or Markdown"),
        ("a.md", "¡Adiós!".encode("latin-1"), "save it in UTF-8"),
        ("a.bin", b"abc\x00", "export it as text"),
    ],
)
def test_what_is_no_text_is_refused_with_what_to_do(name: str, data: bytes, mend: str) -> None:
    with pytest.raises(ValidationFailed, match=mend) as error:
        text_of(name, data)
    assert error.value.code == "not_a_text" and error.value.param == "file_id"


def test_a_long_fence_is_not_said_again_in_every_part() -> None:
    text = "```" + "x" * 2_000 + "\n" + "a = 1\n" * 400 + "```"
    parts = parts_of(text, 200)
    assert sum(map(len, parts)) < 3 * len(text)
    assert all(len(part) <= 200 for part in parts)
