"""Where sentences end, in a text that is there and in one that is still being written."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wire.sentences import LONGEST_CHARS, SentenceStream, cut_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["Hola.", "¿Qué tal?", "¡Muy bien!"],
        ["El Sr. Gil y la Sra. Ruiz llegan hoy.", "Vienen con la Dra. Vega."],
        ["Cuesta 3.5 euros.", "Pagué 1.200.000 € ayer."],
        ["Vive en EE. UU. desde 2010.", "Trabaja allí."],
        ["Volvió de EE. UU.", "El viaje fue largo."],
        ["Use a tool, e.g. a hammer.", "Dr. Smith vs. Mr. Jones went on."],
        ["The U.S. Government said so.", "It lives in the U.S.", "The rest is history."],
        ["J. R. R. Tolkien wrote it.", "We read it."],
        ["Es el plan B.", "El plan A falló."],
        ["Mira https://ejemplo.com/a.b?c=d. y luego vuelve."],
        ["Mira https://ejemplo.com/a.b?c=d.", "Luego vuelve."],
        ["No sé... quizá mañana.", "O nunca…", "Ya veremos."],
        ["«¿Vienes?», preguntó Ana.", "«¡Claro!»", "Y vino."],
        ["¿Vienes? —preguntó Ana.", "(Sí.)", "Vino."],
        ["Vea la pág. 5 y el n.º 3.", "See No. 5 and fig. 2.", "Dijo que no.", "Luego sí."],
        ["Compró pan, leche, etc. y volvió.", "Quedan huevos, etc.", "Todo en orden."],
        ["Son las 3 p. m. en Madrid.", "At 9 a.m. we start."],
        ["Wait... what?!", "Really?!", "Yes!!!"],
        ["1. Abre la puerta.", "Ciérrala."],
        ["sin punto final"],
        [],
    ],
)
def test_sentences_end_where_a_reader_would_say(sentences: list[str]) -> None:
    assert cut_sentences(" ".join(sentences)) == sentences
    assert [sentence.strip() for sentence in _pieces(" ".join(sentences) + "\n\n", 1)] == sentences


def _pieces(text: str, size: int) -> list[str]:
    stream = SentenceStream()
    found = [sentence for at in range(0, len(text), size) for sentence in stream.feed(text[at : at + size])]
    return found + stream.finish()


def test_a_sentence_is_given_as_soon_as_the_next_one_begins() -> None:
    stream = SentenceStream()
    assert stream.feed("Abrimos a las nueve.") == []
    assert stream.feed(" ") == []
    assert stream.feed("C") == ["Abrimos a las nueve. "]
    assert stream.feed("erramos a las dos") == []
    assert stream.finish() == ["Cerramos a las dos"]
    assert stream.finish() == []


def test_a_dot_that_may_be_an_abbreviations_waits_for_the_word_after_it() -> None:
    stream = SentenceStream()
    assert stream.feed("It is from the U.S. Th") == []
    assert stream.feed("e rest is not.") == ["It is from the U.S. "]
    assert stream.feed(" Dr. Who. Y") == ["The rest is not. ", "Dr. Who. "]


def test_very_short_sentences_go_with_the_next_one_if_it_is_there() -> None:
    stream = SentenceStream()
    assert stream.feed("Sí. Mañana abrimos a las nueve. No. ¿Y") == ["Sí. Mañana abrimos a las nueve. ", "No. "]
    assert stream.finish() == ["¿Y"]


def test_of_fenced_code_only_the_fences_are_given() -> None:
    text = "Así se hace:\n\n```python\nx = 1. Y = 2.\n\n~~~\n# no\n``\n```\nYa está. Es todo.\n~~~~\nx. Y.\n~~~\n"
    for size in (1, 2, 3, 7, len(text)):
        words = "".join(_pieces(text, size)).split()
        assert words == ["Así", "se", "hace:", "```", "```", "Ya", "está.", "Es", "todo.", "~~~", "~~~"]
    assert "".join(_pieces("```js\nlet x", 2)) == "```\n```\n"
    assert "".join(_pieces("```a``` es código. Sí", 1)) == "```a``` es código. Sí"


def test_lines_end_headings_list_items_and_tables() -> None:
    text = "# Título\nTexto que\nsigue aquí\n- Uno y. Medio\n- Dos\n  más\n\n| a. B | b |\n|---|---|\n| 1 | 2 |\nFin"
    assert [piece.strip() for piece in _pieces(text, 1)] == [
        "# Título",
        "Texto que\nsigue aquí",
        "- Uno y.",
        "Medio",
        "- Dos\n  más",
        "| a. B | b |\n|---|---|\n| 1 | 2 |",
        "Fin",
    ]


def test_code_and_labels_of_links_stay_whole() -> None:
    text = "Usa `git commit. Ya` siempre. Lee [esto. Y esto](http://a.b) después. Fin"
    assert _pieces(text, 1) == ["Usa `git commit. Ya` siempre. ", "Lee [esto. Y esto](http://a.b) después. ", "Fin"]


def test_a_sentence_without_an_end_is_cut_at_a_clause() -> None:
    text = "palabra, " * 200
    pieces = _pieces(text, 5)
    assert "".join(pieces) == text
    assert all(len(piece) <= LONGEST_CHARS + 5 and piece.endswith(", ") for piece in pieces)


MARKDOWN = st.lists(
    st.sampled_from(
        ["Sí. ", "Hola", "Sr. ", "U.S. ", "The ", "\n", "\n\n", "```", "```\n", "~~~~\n", "`", "# ", "- ", "1. ",
         "| a ",          "...", "?! ", "[", "](", " ", "\t", "é", "EE. ", "UU. ", "x" * 90, "3", ".",
         " " * 90, "aa bb, " * 100]
    ),
    max_size=30,
).map("".join)  # fmt: skip


@settings(max_examples=40)
@given(MARKDOWN | st.text(max_size=60), st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_what_is_given_does_not_depend_on_the_pieces_it_came_in(text: str, sizes: list[int]) -> None:
    stream, at, found = SentenceStream(), 0, []
    for number in range(len(text)):
        size = sizes[number % len(sizes)]
        found += stream.feed(text[at : at + size])
        at += size
    found += stream.finish()
    whole = SentenceStream()
    assert "".join(found).split() == "".join([*whole.feed(text), *whole.finish()]).split()
    if "```" not in text and "~~~" not in text:
        assert "".join(found).split() == text.split()


def _seconds(act: Callable[[], object]) -> float:
    """The least of three, so that company on the machine tells little."""
    taken = []
    for _ in range(2):
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return min(taken)


@pytest.mark.parametrize(
    "hostile", ["1", ".", "[", "`", "a ", "\n", " ", "a. ", "A. ", "- ", "`a. ", "...) ", "U.S. ", "|", "~"]
)
def test_the_cost_grows_with_the_text_and_no_faster(hostile: str) -> None:
    def cut(chars: int) -> None:
        text = (hostile * chars)[:chars]
        cut_sentences(text)
        _pieces(text, chars)
        _pieces(text, 50)

    assert _seconds(lambda: cut(8_000)) < 4 * 3 * max(_seconds(lambda: cut(2_000)), 0.001)
