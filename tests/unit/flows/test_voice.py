"""What of speech is tried again."""

import pytest

from flows.voice import worth_trying_again
from wire.errors import ApiError, DeadlineExceeded, InvalidRequest, TooManyRequests, Unavailable, UpstreamFailed


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (UpstreamFailed("it ended", code="engine_crashed"), True),
        (TooManyRequests("full", code="queue_full"), True),
        (Unavailable("away", code="tts_server_unreachable"), True),
        (UpstreamFailed("its file is broken", code="engine_damaged"), False),
        (DeadlineExceeded("too long", code="engine_silent"), False),
        (InvalidRequest("no such voice", code="unknown_voice"), False),
        (ValueError("ours"), False),
    ],
)
def test_only_what_may_go_well_in_a_moment_is_tried_again(error: ApiError | ValueError, again: bool) -> None:
    assert worth_trying_again(error) is again
