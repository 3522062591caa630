import itertools

from hypothesis import given
from hypothesis import strategies as st

from services_node.tts_server.engines.kokoro import windows
from services_node.tts_server.engines.kokoro.windows import (
    CONTEXT,
    FIRST,
    LARGEST,
    WHOLE,
    Window,
    piece,
    pieces,
    wholes,
)


def covers(plan: list[Window], start: int, stop: int) -> bool:
    joined = all(a.stop == b.start for a, b in itertools.pairwise(plan))
    return joined and plan[0].start == start and plan[-1].stop == stop


@given(st.integers(0, 20), st.integers(1, 4000), st.data())
def test_pieces_of_any_length_cover_a_sentence_and_none_is_left_that_is_not_worth_one(
    start: int, length: int, data: st.DataObject
) -> None:
    stop, plan = start + length, list[Window]()
    while not plan or plan[-1].stop < stop:
        frames = data.draw(st.integers(FIRST, LARGEST))
        plan.append(piece(plan[-1].stop if plan else start, frames, start, stop))
    assert covers(plan, start, stop)
    assert all(FIRST <= one.stop - one.start < LARGEST + FIRST for one in plan) or length < FIRST


@given(st.integers(0, 20), st.integers(1, 4000), st.integers(0, 300))
def test_what_is_left_is_made_in_the_largest_pieces(start: int, length: int, made: int) -> None:
    place, stop = start + min(made, length), start + length
    plan = pieces(place, start, stop)
    assert plan == [] if place == stop else covers(plan, place, stop)
    assert all(one.stop - one.start == LARGEST for one in plan[:-1])


def test_a_piece_is_made_from_as_much_beside_it_as_its_sound_depends_on() -> None:
    first, second = piece(4, 40, 4, 300), piece(44, 250, 4, 300)
    assert (first.read_from, first.read_to) == (4, 44 + CONTEXT)
    assert (second.read_from, second.read_to) == (44 - CONTEXT, 300)
    assert (first.frames, first.seconds) == (40 + CONTEXT, 0.5)


@given(st.integers(1, 6000), st.lists(st.integers(0, 6000), max_size=40))
def test_a_voice_that_is_not_known_is_said_in_parts_of_about_equal_length(length: int, quiet: list[int]) -> None:
    plan = wholes(0, length, sorted(quiet))
    assert covers(plan, 0, length)
    assert len(plan) == -(-length // WHOLE)


def test_its_parts_meet_where_it_is_quiet() -> None:
    first, second = wholes(0, WHOLE + 100, [50, 120, 250])
    assert first.stop == second.start == 120


def test_a_second_has_eighty_frames() -> None:
    assert windows.FRAMES_PER_SECOND == 80
