from services_node.tts_server.engines.kokoro.pace import Pace, first_frames
from services_node.tts_server.engines.kokoro.windows import FIRST


def test_a_sentence_that_nobody_waits_for_is_said_as_a_whole() -> None:
    assert Pace().has_time(500, 1.0, float("inf"))


def test_one_whose_listener_would_run_dry_is_not() -> None:
    pace = Pace(cost=0.5)
    assert not pace.has_time(90, 1.0, 0.0)
    assert not pace.has_time(90, 1.0, 2.5)
    assert pace.has_time(90, 1.0, 3.0)
    assert pace.has_time(90, 2.0, 2.0), "fast speech is less of it"


def test_what_speech_costs_is_learnt() -> None:
    pace = Pace(cost=1.0)
    for _ in range(40):
        pace.saw(1.0, 4.0)
    assert 0.25 <= pace.cost < 0.26


def test_the_first_piece_is_as_long_as_there_is_time_for() -> None:
    assert first_frames(0.0) == FIRST
    assert first_frames(1.3) == 80
    assert first_frames(float("inf")) == FIRST
