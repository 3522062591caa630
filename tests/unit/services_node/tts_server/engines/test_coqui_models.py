import pytest

from services_node.tts_server.engines.coqui_models import windows


@pytest.mark.parametrize("hurry", [False, True])
@pytest.mark.parametrize("frames", [1, 30, 34, 35, 128, 129, 130, 1000])
def test_pieces_follow_one_another_and_leave_nothing_out(frames: int, hurry: bool) -> None:
    pieces = windows(frames, 86.1, hurry)
    assert [frame for first, last in pieces for frame in range(first, last)] == list(range(frames))
    assert all(first < last for first, last in pieces)


def test_a_first_piece_that_is_waited_for_is_the_shortest_of_a_long_sentence() -> None:
    pieces = [last - first for first, last in windows(1000, 86.1, True)]
    assert pieces[0] == 34
    assert set(pieces[1:-1]) == {129}
