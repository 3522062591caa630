"""What becomes of sandboxes and of creations that wait."""

from __future__ import annotations

import pytest

from models_node.sandbox.gateway import events as e
from models_node.sandbox.gateway.limits import GONE_REMEMBERED
from models_node.sandbox.gateway.records import State, Why
from tests.unit.models_node.sandbox.gateway.core_house import MIB, House, claim


@pytest.fixture
def house() -> House:
    return House.of()


def test_the_pool_is_filled_one_at_a_time(house: House) -> None:
    house.tell(e.Tick())
    assert house.launching == ["s1"]
    house.ready()
    assert house.launching == ["s2"]
    house.ready()
    assert house.launching == []
    assert house.core.count()[State.WARM] == 2


def test_a_warm_sandbox_is_claimed_at_once_and_replaced(house: House) -> None:
    house.warm_up()
    house.create(1)
    assert house.granted == {1: "s1"}
    assert house.launching == ["s3"]
    assert house.core.sandboxes["s1"].ends_at == house.now + 300


def test_creations_are_served_in_the_order_they_came(house: House) -> None:
    for ticket in (1, 2, 3):
        house.create(ticket)
    assert len(house.launching) == 4, "one for each who waits, and one refill"
    house.ready("s2")
    house.ready("s1")
    assert house.granted == {1: "s2", 2: "s1"}


def test_no_more_than_the_count_live_and_dying_ones_count(house: House) -> None:
    house.warm_up()
    for ticket in range(1, 5):
        house.create(ticket)
        while house.launching:
            house.ready()
    assert len(house.granted) == 4
    assert house.launching == []
    house.create(5)
    assert house.launching == []
    house.tell(e.Kill("s1", asker=9))
    assert house.launching == [], "it is not seen to be gone yet"
    assert house.told == {}
    house.ended("s1")
    assert house.told == {9: True}
    assert house.launching == ["s5"]
    house.ready()
    assert house.granted[5] == "s5"


def test_the_queue_is_bounded(house: House) -> None:
    for ticket in range(1, 6):
        house.create(ticket)
    assert house.refused == {4: "creation_queue_full", 5: "creation_queue_full"}


def test_a_creation_waits_so_long_and_no_longer(house: House) -> None:
    house.create(1)
    house.later(4)
    house.create(2)
    assert house.core.due(house.now) == house.now + 6
    house.later(6)
    assert house.refused == {1: "sandbox_capacity_unavailable"}
    house.ready()
    assert house.granted == {2: "s1"}


def test_who_leaves_the_queue_is_served_no_more(house: House) -> None:
    house.create(1)
    house.create(2)
    house.tell(e.Withdraw(1))
    house.ready()
    assert house.granted == {2: "s1"}


def test_a_sandbox_ends_when_its_time_is_over(house: House) -> None:
    house.warm_up()
    house.create(1, timeout_seconds=20)
    house.later(19)
    assert house.dying == []
    house.later(1)
    assert house.dying == ["s1"]
    assert house.core.gone["s1"].why is Why.TIMEOUT
    assert house.core.running("s1") is None


def test_its_time_is_changed_as_asked(house: House) -> None:
    house.warm_up()
    house.create(1, timeout_seconds=20)
    house.tell(e.SetTimeout("s1", 7, 5, extend=True))
    assert house.core.sandboxes["s1"].ends_at == house.now + 20
    house.tell(e.SetTimeout("s1", 8, 5))
    assert house.core.sandboxes["s1"].ends_at == house.now + 5
    house.tell(e.SetTimeout("s1", 9, 0))
    assert house.dying == ["s1"]
    house.tell(e.SetTimeout("s1", 10, 100))
    assert house.told == {7: True, 8: True, 9: True, 10: False}


def test_what_is_not_running_cannot_be_killed(house: House) -> None:
    house.warm_up()
    house.tell(e.Kill("s1", asker=1))  # warm, and nobody's
    house.tell(e.Kill("other", asker=2))
    house.create(3)
    house.tell(e.Kill("s1", asker=4))
    house.tell(e.Kill("s1", asker=5))
    assert house.told == {1: False, 2: False, 5: False}
    house.ended("s1")
    assert house.told[4] is True


def test_one_that_ends_by_itself_is_cleared_away_and_remembered(house: House) -> None:
    house.warm_up()
    house.create(1)
    house.tell(e.Exited("s1", Why.OUT_OF_MEMORY))
    house.tell(e.Exited("s1", Why.EXITED))  # a second notice means nothing
    assert house.dying == ["s1"]
    assert house.core.gone["s1"].why is Why.OUT_OF_MEMORY
    house.ended()
    house.tell(e.Exited("s1", Why.EXITED))
    assert "s1" not in house.core.sandboxes


def test_a_warm_one_that_ends_is_replaced_and_not_remembered(house: House) -> None:
    house.warm_up()
    house.tell(e.Exited("s1", Why.EXITED))
    assert house.core.gone == {}
    assert house.launching == ["s3"]


def test_only_so_many_that_are_gone_are_remembered() -> None:
    house = House.of(max_count=1, pool_size=1)
    for ticket in range(GONE_REMEMBERED + 5):
        house.warm_up()
        house.create(ticket)
        house.tell(e.Kill(house.granted[ticket], None))
        house.ended()
    assert len(house.core.gone) == GONE_REMEMBERED
    assert "s1" not in house.core.gone


def test_a_launch_that_fails_fails_who_waited_longest(house: House) -> None:
    house.create(1)
    house.create(2)
    first = house.launching.pop(0)
    house.tell(e.Failed(first, "no users left"))
    assert house.refused == {1: "launch_failed"}
    assert house.whys[first] == "LAUNCH_FAILED"
    house.ready()
    assert list(house.granted) == [2]


def test_after_failed_launches_the_next_is_tried_later_each_time() -> None:
    house = House.of(pool_size=1)
    house.tell(e.Tick())
    for pause in (0.5, 1.0, 2.0, 4.0):
        house.tell(e.Failed(house.launching.pop(), "no users left"))
        house.ended()
        assert house.launching == []
        assert house.core.due(house.now) == house.now + pause
        house.later(pause)
        assert len(house.launching) == 1
    house.ready()
    house.create(1)
    house.tell(e.Failed(house.launching.pop(), "no users left"))
    house.ended()
    assert house.core.due(house.now) == house.now + 0.5, "one that went well is forgotten"


def test_a_sandbox_that_exits_while_it_is_made_counts_as_a_failed_launch(house: House) -> None:
    house.create(1)
    house.tell(e.Exited("s1", Why.EXITED))
    assert house.refused == {1: "launch_failed"}
    house.tell(e.Failed("s1", "late"))
    assert list(house.refused) == [1]


def test_ready_after_its_end_was_decided_means_nothing(house: House) -> None:
    house.tell(e.Tick())
    house.tell(e.Exited("s1", Why.EXITED))
    house.tell(e.Ready("s1"))
    assert house.core.sandboxes["s1"].state is State.DYING


def test_where_sandboxes_cannot_be_had_nobody_waits_for_one(house: House) -> None:
    house.tell(e.Availability("no cgroups"))
    house.create(1)
    assert house.refused == {1: "sandboxes_unavailable"}
    assert house.launching == []
    house.tell(e.Availability(None))
    assert house.launching == ["s1"]


def test_a_shutdown_ends_everything_and_is_over_when_nothing_is_left(house: House) -> None:
    house.warm_up()
    house.create(1)
    house.ready()
    house.tell(e.Shutdown())
    assert set(house.dying) == {"s1", "s2", "s3"}
    house.create(2)
    assert house.refused == {2: "server_stopping"}
    assert not house.core.ended
    while house.dying:
        house.ended()
    assert house.core.ended
    assert house.core.due(house.now) is None


def test_a_shutdown_tells_who_waits(house: House) -> None:
    house.create(1)
    house.tell(e.Shutdown())
    assert house.refused == {1: "server_stopping"}


# memory


def test_memory_is_asked_for_before_a_launch(house: House) -> None:
    house.answers = False
    house.create(1)
    assert house.launching == []
    assert house.holds == [e.Hold(100 * MIB, in_use=False)]
    house.tell(e.Tick())
    assert len(house.holds) == 1, "one question at a time"
    house.tell(e.Granted(100 * MIB))
    assert house.launching == ["s1"]
    assert house.holds[-1] == e.Hold(200 * MIB, in_use=False)


def test_a_refusal_keeps_creations_waiting_and_is_asked_again(house: House) -> None:
    house.ledger_bytes = 0
    house.create(1)
    assert house.launching == []
    house.later(1)
    assert len(house.holds) == 1
    house.ledger_bytes = 1000 * MIB
    due = house.core.due(house.now)
    assert due is not None
    house.later(due - house.now)
    assert house.launching[0] == "s1"
    house.ready()
    assert house.granted == {1: "s1"}


def test_a_refusal_is_told_when_the_wait_is_over(house: House) -> None:
    house.ledger_bytes = 0
    house.create(1)
    for _ in range(10):
        house.later(1)
    assert house.refused == {1: "sandbox_capacity_unavailable"}


def test_what_was_measured_is_told_as_being_in_use(house: House) -> None:
    house.warm_up()
    house.tell(e.Measured({"s1": 400 * MIB, "s2": 30 * MIB, "other": 1}, base_bytes=50 * MIB))
    assert house.holds[-1] == e.Hold(550 * MIB, in_use=True)
    house.tell(e.Measured({"s1": 20 * MIB}, base_bytes=50 * MIB))
    assert house.holds[-1] == e.Hold(250 * MIB, in_use=True)


def test_a_holding_is_renewed_though_nothing_changed(house: House) -> None:
    house.warm_up()
    seen = len(house.holds)
    for _ in range(3):
        house.tell(e.Measured({}, base_bytes=0))
    assert house.holds[seen:] == [e.Hold(200 * MIB, in_use=True)] * 3


def test_an_end_gives_memory_back(house: House) -> None:
    house = House.of(pool_size=0)
    house.create(1)
    house.ready()
    house.tell(e.Kill("s1", None))
    house.ended()
    assert house.holds[-1] == e.Hold(0, in_use=True)


def test_all_sandboxes_together_stay_below_their_own_limit() -> None:
    house = House.of(total_bytes=250 * MIB)
    for ticket in (1, 2, 3):
        house.create(ticket)
        while house.launching:
            house.ready()
    assert len(house.granted) == 2
    assert all(hold.bytes <= 250 * MIB for hold in house.holds)
    house.tell(e.Kill("s1", None))
    house.ended()
    house.ready()
    assert 3 in house.granted


def test_without_the_ledger_their_own_limit_is_all_there_is() -> None:
    house = House.of(total_bytes=250 * MIB)
    house.ledger_bytes = None
    for ticket in (1, 2, 3):
        house.create(ticket)
        while house.launching:
            house.ready()
    assert len(house.granted) == 2
    house.ledger_bytes = 100_000 * MIB
    house.tell(e.Measured({"s1": 150 * MIB}, base_bytes=10 * MIB))
    assert house.holds[-1] == e.Hold(260 * MIB, in_use=True), "what runs already is told as being in use"
    assert house.core.holding.reachable


def test_only_the_owner_of_a_claim_is_remembered_with_it(house: House) -> None:
    house.warm_up()
    house.tell(e.Create(1, claim("ana")))
    house.tell(e.Kill("s1", None, Why.ABANDONED))
    assert house.core.gone["s1"].owner == "ana"
