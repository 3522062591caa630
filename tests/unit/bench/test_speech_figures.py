"""Words heard wrong, and the silences a listener meets."""

from __future__ import annotations

import pytest

from bench._speech_figures import Arrival, comparable, most_without_silence, silences, word_error_rate, word_errors


def test_what_cannot_be_heard_is_not_compared() -> None:
    assert comparable("¡Aquí, el «Señor» GIL-Vega!") == ["aqui", "el", "senor", "gil", "vega"]
    assert comparable("nine o'clock, twenty-one") == comparable("Nine o’clock twenty one".replace("’", "'"))


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("a b c", "a b c", 0),
        ("a b c", "a x c", 1),
        ("a b c", "a c", 1),
        ("a b c", "a b b c", 1),
        ("a b c", "", 3),
        ("", "a b", 2),
        ("a b c d", "b c d a", 2),
    ],
)
def test_each_word_left_out_put_in_or_changed_is_an_error(said: str, heard: str, errors: int) -> None:
    assert word_errors(said.split(), heard.split()) == word_errors(heard.split(), said.split()) == errors


def test_the_rate_is_over_all_words_and_not_of_sentences() -> None:
    assert word_error_rate([(["a"], ["x"]), (["a", "b", "c"], ["a", "b", "c"])]) == 0.25


def _arrivals(*pieces: tuple[float, float]) -> list[Arrival]:
    return [Arrival(at, seconds) for at, seconds in pieces]


def test_audio_that_is_there_before_it_is_needed_leaves_no_silence() -> None:
    assert silences(_arrivals((5.0, 1.0), (5.9, 1.0), (6.5, 2.0), (8.999, 1.0))) == []
    assert silences([]) == []


def test_a_piece_that_comes_late_is_waited_for_and_all_after_it_are_later() -> None:
    assert silences(_arrivals((1.0, 1.0), (2.5, 1.0), (3.4, 1.0))) == pytest.approx([0.5])
    assert silences(_arrivals((1.0, 1.0), (2.5, 1.0), (3.6, 1.0))) == pytest.approx([0.5, 0.1])
    assert silences(_arrivals((1.0, 1.0), (2.005, 1.0))) == []


def test_the_most_listeners_are_those_below_the_first_number_that_hears_one() -> None:
    fine, late = _arrivals((1, 1)), _arrivals((1, 1), (3, 1))
    assert most_without_silence({1: [fine], 2: [fine, fine], 3: [fine, late], 4: [fine]}) == 2
    assert most_without_silence({1: [late]}) == 0
