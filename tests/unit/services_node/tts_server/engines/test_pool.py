import threading
import time
from concurrent.futures import CancelledError

import pytest

from services_node.tts_server.engines.pool import Pool


class Gate:
    """Keeps a pool's only thread busy until it is opened."""

    def __init__(self, pool: Pool) -> None:
        self._open, begun = threading.Event(), threading.Event()
        pool.submit(float("-inf"), lambda: (begun.set(), self._open.wait(10)))
        assert begun.wait(10)

    def open(self) -> None:
        self._open.set()


def test_the_most_urgent_piece_goes_first_and_equals_in_order() -> None:
    pool, done = Pool(1, "t"), list[str]()
    gate = Gate(pool)
    last = [pool.submit(when, lambda name=name: done.append(name)) for when, name in ((3, "c"), (1, "a"), (1, "b"))]  # type: ignore[misc]
    gate.open()
    for one in last:
        one.result(10)
    assert done == ["a", "b", "c"]
    pool.close()


def test_what_is_cancelled_in_time_is_never_begun() -> None:
    pool, done = Pool(1, "t"), list[int]()
    gate = Gate(pool)
    dropped, kept = pool.submit(0, lambda: done.append(1)), pool.submit(1, lambda: done.append(2))
    dropped.cancel()
    gate.open()
    kept.result(10)
    assert done == [2]
    with pytest.raises(CancelledError):
        dropped.result(0)
    pool.close()


def test_what_can_wait_gives_way_to_the_urgent_until_its_time_has_come() -> None:
    pool = Pool(2, "t")
    now = time.monotonic()
    with pool.urgency() as urgent:
        urgent(True)
        waiting = pool.submit(now + 100, lambda: "later", latest=now + 90)
        due = pool.submit(now + 100, lambda: "due", latest=now - 1)
        assert due.result(10) == "due"
        assert pool.submit(now, lambda: "urgent").result(10) == "urgent"
        assert not waiting.done()
    assert waiting.result(10) == "later"
    pool.close()


def test_of_those_that_use_all_cores_one_is_done_at_a_time() -> None:
    pool, at_once, most = Pool(2, "t"), 0, 0
    counted = threading.Lock()

    def work() -> None:
        nonlocal at_once, most
        with counted:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.01)  # long enough to be seen beside another
        with counted:
            at_once -= 1

    dropped = pool.submit(9, work, alone=True)
    dropped.cancel()
    for one in [pool.submit(place, work, alone=True) for place in range(6)]:
        one.result(10)
    assert most == 1
    assert pool.submit(10, lambda: "after", alone=True).result(10) == "after"
    pool.close()


def test_who_shares_the_cores_is_counted_and_urgency_ends_with_its_holder() -> None:
    pool = Pool(1, "t")
    gate = Gate(pool)
    with pool.urgency() as urgent, pool.urgency() as other:
        assert pool.load == 1, "the piece that is being done"
        urgent(True)
        urgent(True)
        other(True)
        assert pool.load == 3
        other(False)
        assert pool.load == 2
    gate.open()
    pool.submit(0, lambda: None).result(10)
    assert pool.submit(0, lambda: pool.load).result(10) == 1, "itself alone"
    pool.close()


def test_an_error_is_told_to_whoever_waits_and_the_thread_goes_on() -> None:
    pool = Pool(1, "t")

    def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        pool.submit(0, fail).result(10)
    assert pool.submit(0, lambda: 1).result(10) == 1
    pool.close()


def test_a_closed_pool_begins_nothing_more() -> None:
    pool = Pool(1, "t")
    gate = Gate(pool)
    left = pool.submit(0, lambda: 1)
    pool.close()
    gate.open()
    with pytest.raises(CancelledError):
        left.result(10)
