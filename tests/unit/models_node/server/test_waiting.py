"""What a waiting stream is told."""

from __future__ import annotations

import pytest

from models_node.residency.messages import Progress
from models_node.server.waiting import describe


@pytest.mark.parametrize(
    ("progress", "granted", "told"),
    [
        (Progress("loading", 12.4, 30.2, 0), False, "loading phi4_fast, 12 s of about 30 s"),
        (Progress("loading", 12.4, None, 0), False, "loading phi4_fast, 12 s"),
        (Progress("waking", 0.3, 0.8, 0), False, "waking phi4_fast, 0 s of about 1 s"),
        (Progress("queued", 3, None, 4), False, "queued for phi4_fast, 4 waiting, 7 s"),
        (Progress("ready", 0, None, 0), True, "phi4_fast reads the prompt, 7 s"),
    ],
)
def test_it_is_one_line_for_a_person(progress: Progress, granted: bool, told: str) -> None:
    assert describe("phi4_fast", progress, 7.2, granted=granted) == told
