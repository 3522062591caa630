from collections.abc import Sequence

import pytest

from services_node.tts_server.engines.kokoro.alphabet import IDS, sounds_of


def heard(ipa: dict[str, str]):  # type: ignore[no-untyped-def]
    def phonemes(texts: Sequence[str], voice: str) -> list[str]:
        return [ipa[text] for text in texts]

    return phonemes


def test_sounds_of_two_letters_are_one_in_the_models_alphabet() -> None:
    said = sounds_of("Muchachos.", "es", heard({"Muchachos": "mut^ʃˈat^ʃos"}))
    assert said.written == "muʧˈaʧos."
    assert said.ids == [IDS[letter] for letter in said.written]


def test_english_is_written_as_the_model_heard_it() -> None:
    said = sounds_of("The boat, now!", "en", heard({"The boat": "ðə bˈo^ʊt", "now": "nˈa^ʊ"}))
    assert said.written == "ðə bˈOt, nˈW!"
    assert said.words == ("The", "boat", "now")


def test_marks_stay_with_the_word_before_them_and_openings_are_silent() -> None:
    said = sounds_of("¿Qué? ¡Ya!", "es", heard({"Qué": "kˈe", "Ya": "ʝˈa"}))
    assert said.written == "kˈe? ʝˈa!"


def test_letters_that_the_model_has_not_are_left_out() -> None:
    assert sounds_of("x", "es", heard({"x": "a\u0361ɮb"})).written == "ab"


@pytest.mark.parametrize("text", ["...", "", "¿?", "—"])
def test_a_text_without_words_has_no_sound(text: str) -> None:
    said = sounds_of(text, "es", heard({}))
    assert not any(letter.isalpha() for letter in said.written)
