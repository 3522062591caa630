"""A whole text: Markdown, tags, pauses, languages, and what nobody can read."""

from __future__ import annotations

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services_node.tts_server.text import NothingToSay, read_text
from services_node.tts_server.text.languages import language_told
from services_node.tts_server.text.reading import LONGEST_SPOKEN

SPEAKABLE = re.compile(r"(?:[^\W\d_]|[ .,;:?!…¿¡'-])*")


def _spoken(text: str, language: str | None = "es") -> list[str]:
    return [segment.text for segment in read_text(text, language=language)]


@pytest.mark.parametrize(
    ("markdown", "spoken"),
    [
        ("# Informe anual\nTodo va **muy** _bien_.", ["Informe anual", "Todo va muy bien."]),
        ("- Uno\n- [x] Dos\n  1. Tres", ["Uno", "Dos", "uno, Tres"]),
        ("1. Abre\n2. Cierra", ["uno, Abre", "dos, Cierra"]),
        ("• Uno\n• Dos", ["Uno", "Dos"]),
        ("Lee [el manual](http://a.b/c) y ![un gato](x.png)", ["Lee el manual y un gato"]),
        ("| Mes | Coste |\n|---|---|\n| Mayo | 5 € |\n| Junio | |", ["Mes, Coste", "Mayo, cinco euros", "Junio"]),
        ("Usa `run_python` así:\n```py\nx = 1\n```\nFin", ["Usa run python así:", "Bloque de código omitido.", "Fin"]),
        ("```\nx = 1", ["Bloque de código omitido."]),
        (f"Usa `{'x' * 80}` así", ["Usa código omitido así"]),
        ("Pon `<b>` aquí", ["Pon b aquí"]),
        ("> Cita\n\n---\n\n~~No~~ sí", ["Cita", "No sí"]),
        ("    Con sangría no es código", ["Con sangría no es código"]),
        ("Hola Ana\nTe escribo por lo de ayer\nUn saludo", ["Hola Ana", "Te escribo por lo de ayer", "Un saludo"]),
        ("una línea que\nsigue en otra", ["una línea que sigue en otra"]),
        ("2*3*4 y a_b_c", ["dos por tres por cuatro y a b c"]),
        ("<speak>Hola <b>Ana</b><br/>Adiós</speak>", ["Hola Ana", "Adiós"]),
        ("<p>Uno</p><p>Dos &amp; tres</p>", ["Uno", "Dos y tres"]),
        ('Sí<script>alert("x")</script> y <style>b {}</style>no <!-- nunca -->ya', ["Sí y no ya"]),
        ('<prosody rate="slow">Despacio</prosody>', ["Despacio"]),
        (
            "Es $E = mc^2$ y \\(x_1 \\geq \\frac{a}{2}\\)",
            ["Es E igual a mc elevado a dos y x uno mayor o igual que a barra dos"],
        ),
        ("Son $5 o $6 y $HOME", ["Son cinco dólares o seis dólares y home"]),
        ("**Sin cerrar y `tampoco", ["Sin cerrar y tampoco"]),
    ],
)
def test_markdown_and_tags_are_read_and_never_spelled(markdown: str, spoken: list[str]) -> None:
    assert _spoken(markdown) == spoken


@pytest.mark.parametrize(
    ("text", "pauses"),
    [
        ("Uno. [pause:1.5s] Dos.", [1.5, 0.0]),
        ("Uno. [pausa:500ms] Dos.", [0.5, 0.0]),
        ("Uno [PAUSE: 2] dos", [2.0, 0.0]),
        ('Uno <break time="1s"/> dos', [1.0, 0.0]),
        ("Uno <break/> dos", [0.5, 0.0]),
        ("Uno [pause:99999s] dos", [10.0, 0.0]),
        ("Uno [pause:1s][pause:2s] dos", [3.0, 0.0]),
        ("[pause:1s] Uno", [0.0]),
        ("Uno. Dos.", [0.0, 0.0]),
        ("Uno [pause:hola] dos", [0.0]),
    ],
)
def test_pauses_stand_after_what_comes_before_them(text: str, pauses: list[float]) -> None:
    assert [segment.pause_seconds for segment in read_text(text, language="es")][: len(pauses)] == pytest.approx(
        [*pauses[:-1], pytest.approx(pauses[-1], abs=0.4)]
    )


def test_a_paragraph_ends_with_a_short_silence() -> None:
    first, second, third = read_text("Uno. Dos.\n\nTres.", language="es")
    assert first.pause_seconds == 0 < second.pause_seconds < 1
    assert third.source == "Tres."


def test_each_sentence_has_its_language_and_an_unclear_one_that_of_its_neighbour() -> None:
    text = "OK. Hola, ¿qué tal estás? Madrid. This is the plan for today. Tokyo 2020. Y ahora en español."
    found = read_text(text)
    assert [(segment.source, segment.language) for segment in found] == [
        ("OK.", "es"),
        ("Hola, ¿qué tal estás?", "es"),
        ("Madrid.", "es"),
        ("This is the plan for today.", "en"),
        ("Tokyo 2020.", "en"),
        ("Y ahora en español.", "es"),
    ]
    assert found[4].text == "Tokyo twenty twenty."
    assert [segment.language for segment in read_text("OK. 25", default_language="en")] == ["en", "en"]
    assert _spoken("The end.\n```\nx\n```", None) == ["The end.", "Code block omitted."]


@pytest.mark.parametrize(
    ("sentence", "language"),
    [
        ("F-strings: ya permiten comillas anidadas.", "es"),
        ("Puedes escribirme a soporte@example.com.", "es"),
        ("Kubernetes funciona bien.", "es"),
        ("Machine learning is fun.", "en"),
        ("Bring your laptop.", "en"),
        ("See https://ejemplo.com/el/de/la for the rest.", "en"),
        ("Python 3.12", None),
        ("OK.", None),
        ("Madrid", None),
        ("a, no, me", None),
    ],
)
def test_a_sentence_tells_its_language_by_its_words_and_spelling(sentence: str, language: str | None) -> None:
    assert language_told(sentence) == language


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n\t",
        "😀🎉👍🏽",
        "🇪🇸 1️⃣"[:3],
        "漢字かな",
        "العربية",
        "...",
        "***",
        "<b></b>",
        "\ud800",
        "\x00\x07",
        "[pause:1s]",
        "\u200b\ufeff",
        "---",
        "|",
    ],
)
def test_where_nothing_can_be_spoken_it_is_said(text: str) -> None:
    with pytest.raises(NothingToSay):
        read_text(text)


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Hola 漢字 mundo", ["Hola mundo"]),
        ("Bien 😀👍🏽 hecho 1️⃣", ["Bien hecho uno"]),
        ("Ho\u200bla\x00 mun\ud83ddo", ["Hola mundo"]),
        ("Ｈｏｌａ 𝐦𝐮𝐧𝐝𝐨 ٣", ["Hola mundo tres"]),
        ("Cafe\u0301 y pin\u0303a", ["Café y piña"]),
        ("“Hola” — dijo él", ["Hola, dijo él"]),
        ("uno\r\ndos", ["uno dos"]),
        ("Żółw Łukasz", ["Żółw Łukasz"]),
    ],
)
def test_what_cannot_be_read_is_left_out_and_the_rest_is_read(text: str, spoken: list[str]) -> None:
    assert _spoken(text) == spoken


def test_a_very_long_sentence_is_cut_at_clauses_and_then_at_spaces() -> None:
    clauses = read_text("cuando llega el verano todos bajan a la playa, " * 12, language="es")
    assert all(len(segment.text) <= LONGEST_SPOKEN for segment in clauses) and len(clauses) > 2
    assert all(segment.text.endswith(("playa,", "playa")) for segment in clauses)
    words = read_text("palabra " * 100 + "x" * 600, language="es")
    assert all(len(segment.text) <= LONGEST_SPOKEN for segment in words)
    assert "".join(segment.text for segment in words).replace(" ", "") == "palabra" * 100 + "x" * 600


def test_without_normalising_signs_stay_and_markdown_goes() -> None:
    assert [s.text for s in read_text("**Son 5 €** en `x`. Y 3", normalise=False, language="es")] == [
        "Son 5 € en x.",
        "Y 3",
    ]


PIECES = st.lists(
    st.sampled_from(
        ["Hola ", "the ", "12", "3.5", "27/11/2026 ", "9:30", "€", "$", "%", "*", "_", "`", "```\n", "# ", "- ",
        "|", "\n", "<b>", "[",
         "](", "http://a.b", "a@b.es", ".", "...", "?", "¿", "º", "½", "²", "XIV ", "API", "Sr. ", "[pause:1s]",
         "π", "&", "😀", "漢", "-5", "p.m."]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(PIECES | st.text(max_size=60), st.sampled_from(["es", "en", None]))
def test_any_text_is_words_and_punctuation_alone_or_nothing_to_say(text: str, language: str | None) -> None:
    try:
        segments = read_text(text, language=language)
    except NothingToSay:
        return
    for segment in segments:
        assert SPEAKABLE.fullmatch(segment.text) and re.search(r"[^\W\d_]", segment.text), segment
        assert segment.language in ("es", "en") and 0 <= segment.pause_seconds <= 10
        assert len(segment.text) <= LONGEST_SPOKEN


HOSTILE = [
    "1",
    ".",
    "[",
    "(",
    "a@",
    "<",
    "*",
    "http://",
    "`",
    "1.",
    "1-",
    "1/",
    "a_",
    "A.",
    "- a\n",
    "|a\n",
    "<b ",
    "[pause:",
    "a ",
    "€ ",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_the_cost_grows_with_the_text_and_no_faster(piece: str) -> None:
    def seconds(chars: int) -> float:
        began = time.process_time()
        with suppress(NothingToSay):
            read_text((piece * chars)[:chars], language="es")
        return time.process_time() - began

    seconds(500)
    small = max(min(seconds(1_000), seconds(1_000)), 0.001)
    assert min(seconds(8_000), seconds(8_000)) < 8 * 4 * small


@pytest.mark.parametrize(
    "text", ["Ve a http://a.es:² ya", "Mrſ. Smith called.", "El ſr. Gil", "See fİg. 3", "ı.e. that"]
)
def test_letters_that_only_look_like_others_are_read(text: str) -> None:
    for language in ("es", "en"):
        assert read_text(text, language=language)


def test_all_pauses_of_a_text_together_are_bounded() -> None:
    segments = read_text("a[pause:10s] " * 300)
    assert sum(segment.pause_seconds for segment in segments) <= 60
