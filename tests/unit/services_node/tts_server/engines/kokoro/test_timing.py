from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services_node.tts_server.engines.kokoro.alphabet import Sounds
from services_node.tts_server.engines.kokoro.timing import LEAD_FRAMES, layout_of, quiet_places, word_frames


def test_a_sentence_is_laid_out_without_the_silence_at_its_ends() -> None:
    layout = layout_of([10, 3, 4, 2, 20])  # a long pause before three sounds, and after them
    assert layout.edges == (20, 26, 34, 38)
    assert layout.start == 20 - LEAD_FRAMES
    assert layout.stop < 38 + 40


def test_each_word_has_the_time_of_its_sounds() -> None:
    sounds = Sounds("ab cde.", ("ab", "cde"))
    layout = layout_of([1, *[2] * 7, 1])
    assert word_frames(sounds, layout) == [("ab", 2, 10), ("cde", 14, 30)]
    assert quiet_places(sounds, layout) == [12]


def test_words_said_as_one_share_its_time() -> None:
    sounds = Sounds("ɪnðə wɔTəɹ", ("in", "the", "water"))
    layout = layout_of([0, *[5] * 10, 0])
    said = word_frames(sounds, layout)
    assert [word for word, *_ in said] == ["in", "the", "water"]
    assert said[0][1:] == (0, 16) and said[1][1:] == (16, 40) and said[2][1:] == (50, 100)


@given(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=12), st.data())
def test_every_word_has_a_place_in_order_whatever_was_said_as_one(words: list[str], data: st.DataObject) -> None:
    groups = data.draw(st.integers(1, len(words) + 3))
    written = " ".join(["x" * data.draw(st.integers(1, 9)) for _ in range(groups)])
    layout = layout_of([1, *[2] * len(written), 1])
    said = word_frames(Sounds(written, tuple(words)), layout)
    assert [word for word, *_ in said] == words
    assert all(a[2] <= b[1] for a, b in pairwise(said))
    assert all(start <= stop for _, start, stop in said)
