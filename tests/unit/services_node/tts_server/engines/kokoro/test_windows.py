import itertools

from hypothesis import given
from hypothesis import strategies as st

from services_node.tts_server.engines.kokoro import windows
from services_node.tts_server.engines.kokoro.windows import CONTEXT, FIRST, LARGEST, WHOLE, Window, calm, hurried


def covers(plan: list[Window], start: int, stop: int) -> bool:
    joined = all(a.stop == b.start for a, b in itertools.pairwise(plan))
    return joined and plan[0].start == start and plan[-1].stop == stop


@given(st.integers(0, 20), st.integers(1, 4000))
def test_what_is_hurried_covers_the_sentence_in_pieces_that_grow_and_end(start: int, length: int) -> None:
    plan = hurried(start, start + length)
    assert covers(plan, start, start + length)
    assert all(one.stop - one.start <= LARGEST + FIRST for one in plan)
    assert plan[0].stop - plan[0].start < FIRST * 2


def test_a_piece_is_made_from_as_much_beside_it_as_its_sound_depends_on() -> None:
    plan = hurried(4, 300)
    assert plan[0].read_from == 4
    assert plan[1].read_from == plan[1].start - CONTEXT
    assert plan[0].read_to == plan[0].stop + CONTEXT
    assert plan[-1].read_to == 300


def test_with_time_in_hand_the_first_piece_is_longer() -> None:
    assert hurried(0, 400, first=100)[0].stop == 100
    assert hurried(0, 400, first=1)[0].stop == FIRST


@given(st.integers(1, 6000), st.lists(st.integers(0, 6000), max_size=40))
def test_what_is_calm_covers_the_sentence_in_long_pieces(length: int, quiet: list[int]) -> None:
    plan = calm(0, length, sorted(quiet))
    assert covers(plan, 0, length)
    assert len(plan) == -(-length // WHOLE)


def test_long_sentences_are_cut_where_it_is_quiet() -> None:
    [first, second] = calm(0, WHOLE + 100, [50, 190, 390])
    assert (first.stop, second.start) == (190, 190)
    assert windows.FRAMES_PER_SECOND == 80
