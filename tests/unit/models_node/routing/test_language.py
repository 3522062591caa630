"""A text counts as foreign only when that is clear; what is short, near or code is left to the meaning."""

from __future__ import annotations

import pytest

from models_node.routing.language import EldIdentifier, Language, prose

LEAD = 0.2


@pytest.fixture(scope="module")
def identifier() -> EldIdentifier:
    return EldIdentifier()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Bonjour, pourriez-vous m'aider à rédiger une lettre de motivation ?", "fr"),
        ("Wie kann ich mein Passwort ändern, wenn ich es vergessen habe?", "de"),
        ("Olá, gostaria de saber como posso alterar a senha da minha conta", "pt"),
        ("Bon dia, voldria saber com puc canviar la contrasenya del meu compte", "ca"),
        ("Ciao, vorrei sapere come posso cambiare la password del mio account", "it"),
        ("Kaixo, nola alda dezaket nire kontuaren pasahitza?", "eu"),
        ("Подскажите, пожалуйста, как поменять пароль", "ru"),
    ],
)
def test_a_clear_text_in_another_language_is_foreign(identifier: EldIdentifier, text: str, code: str) -> None:
    found = identifier.identify(text)
    assert (found.code, found.is_foreign(LEAD)) == (code, True)


@pytest.mark.parametrize(
    "text",
    [
        "hola",
        "ok",
        "gracias",
        "q significa error 500 en nginx",
        "como hago un backup de mysql por consola",
        "how do i tell the new guy nicely that he talks too loud on the phone lol",
        "SELECT nombre, COUNT(*) FROM clientes GROUP BY nombre HAVING COUNT(*) > 1;",
        "def suma(a, b):\n    return a + b",
        "TypeError: Cannot read properties of undefined (reading 'map') at App.jsx:14:9",
        "fizzbuzz en Rust",
        "",
        "🙂🙂",
        "12345",
        "\ud83d",
    ],
)
def test_ours_short_texts_and_code_are_not(identifier: EldIdentifier, text: str) -> None:
    assert not identifier.identify(text).is_foreign(LEAD)


@pytest.mark.parametrize(
    ("language", "foreign"),
    [
        (Language("fr", 0.3, True), True),
        (Language("fr", 0.1, True), False),
        (Language("fr", 0.3, False), False),
        (Language("es", 0.9, True), False),
        (Language(None, 0.9, True), False),
    ],
)
def test_foreign_means_reliable_and_well_in_the_lead(language: Language, foreign: bool) -> None:
    assert language.is_foreign(LEAD) is foreign


def test_code_and_addresses_are_no_prose() -> None:
    assert prose("mira ```\nfor i in range(3): pass\n``` y https://a.example/b?c=1 con `x = 1`") == "mira y con"
