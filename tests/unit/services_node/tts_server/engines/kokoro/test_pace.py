import pytest
from hypothesis import given
from hypothesis import strategies as st

from services_node.tts_server.engines.kokoro.pace import Pace
from services_node.tts_server.engines.kokoro.windows import CONTEXT, FIRST, FRAMES_PER_SECOND, LARGEST


def cost(pace: Pace, frames: int) -> float:
    """Seconds that a piece takes by all threads."""
    return pace.alone * (frames + 2 * CONTEXT) / FRAMES_PER_SECOND


def test_a_first_piece_is_short_and_longer_the_more_there_are_who_hear_nothing_yet() -> None:
    pace = Pace()
    assert pace.frames(0.0, 1) == FIRST
    assert FIRST < pace.frames(0.0, 2) <= pace.frames(0.0, 3) <= LARGEST


@given(st.floats(0.01, 20), st.integers(0, 5), st.floats(0.05, 2), st.floats(0.01, 20))
def test_a_piece_is_there_in_time_for_all_who_share_the_cores(
    slack: float, load: int, alone: float, others: float
) -> None:
    pace = Pace(alone=alone)
    frames = pace.frames(slack, load, others)
    assert FIRST <= frames <= LARGEST
    if frames > FIRST:
        assert cost(pace, frames) * max(1, load) < slack
        assert cost(pace, frames) < others


def test_with_time_in_hand_pieces_grow() -> None:
    pace, slack = Pace(alone=0.3), 0.0
    lengths = [pace.frames(slack, 1)]
    for _ in range(3):
        slack = lengths[-1] / FRAMES_PER_SECOND + max(0.0, slack - cost(pace, lengths[-1]))
        lengths.append(pace.frames(slack, 1))
    assert lengths == sorted(lengths) and lengths[-1] == LARGEST


def test_what_speech_costs_is_learnt() -> None:
    pace = Pace(alone=1.0, beside=1.0, outline=1.0)
    for _ in range(40):
        pace.saw(1.0, 320, all_threads=True)
        pace.saw(2.0, 320, all_threads=False)
        pace.saw_outline(0.2, 100)
    assert pace.alone == pytest.approx(0.25, abs=0.01) and pace.beside == pytest.approx(0.5, abs=0.01)
    assert pace.outline == pytest.approx(0.002, abs=0.001)


def test_a_long_sentence_and_shared_cores_want_an_earlier_beginning() -> None:
    pace = Pace()
    assert pace.calm_seconds(1) < pace.beginning_seconds(50, 1) < pace.beginning_seconds(100, 1)
    assert pace.beginning_seconds(50, 2) == 2 * pace.beginning_seconds(50, 1)
    assert pace.calm_seconds(0) == pace.calm_seconds(1), "whoever asks is one"
