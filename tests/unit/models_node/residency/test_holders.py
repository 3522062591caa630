"""Memory that others hold beside the models, one event after the other on a virtual clock."""

from __future__ import annotations

from models_node.residency import events as e
from models_node.residency.decide import State
from tests.unit.models_node.residency.core_house import GIB, CoreHouse, entry


class SharedHouse(CoreHouse):
    """A core whose memory others hold too; `answers` keeps what each `Hold` was told."""

    asked = 0

    def hold(self, holder: str, gib: float, *, in_use: bool = False, ttl: float = 600.0) -> int:
        self.asked += 1
        self.tell(e.Hold(self.asked, holder, int(gib * GIB), in_use, ttl))
        return self.asked

    def answers(self) -> dict[int, str]:
        """Of the last event: `held`, or the error's code."""
        told = {effect.asker: "held" for effect in self.effects if isinstance(effect, e.Held)}
        return told | {f.asker: f.error.code for f in self.effects if isinstance(f, e.HoldRefused)}

    def held(self, holder: str) -> float:
        return self.core.ledger.held_by(holder) / GIB


def test_what_there_is_room_for_is_granted_at_once_and_charged() -> None:
    house = SharedHouse(entry("a"))
    asker = house.hold("sandboxes", 2)
    assert house.effects == [e.Held(asker, 5 * GIB)]
    assert house.core.ledger.free_bytes == 5 * GIB
    house.hold("others", 1)
    assert house.core.ledger.holders == {"sandboxes": 2 * GIB, "others": GIB}


def test_a_holding_is_what_was_said_last() -> None:
    house = SharedHouse(entry("a"))
    for gib in (2, 2, 3, 0.5):
        assert house.answers() == ({} if house.asked == 0 else {house.asked: "held"})
        house.hold("sandboxes", gib)
        assert house.held("sandboxes") == gib


def test_an_idle_model_makes_room_however_long_it_would_have_been_kept() -> None:
    house = SharedHouse(entry("a", keep_alive_seconds=1e6), entry("b"))
    house.up("a")
    house.up("b")
    asker = house.hold("sandboxes", 2)
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.EVICTED)]
    assert house.answers() == {}
    house.gone("a")
    assert house.answers() == {asker: "held"}
    assert house.state("b") is State.READY


def test_no_model_goes_for_what_would_not_fit_anyway() -> None:
    house = SharedHouse(entry("a"), entry("b", pinned=True))
    house.up("a")
    house.up("b")
    asker = house.hold("sandboxes", 5)
    assert house.answers() == {asker: "out_of_memory"}
    assert not house.of(e.Stop)


def test_pinned_and_working_models_stay_and_the_wait_ends_with_what_was_held_before() -> None:
    house = SharedHouse(entry("a"), entry("b"), hold_wait_seconds=4.0)
    house.hold("sandboxes", 0.5)
    house.ask("a")
    house.loaded("a")
    house.ask("b")
    house.loaded("b")
    asker = house.hold("sandboxes", 2)
    assert house.core.due(house.now) is not None
    house.after(3.9)
    assert house.answers() == {}
    house.after(0.2)
    assert house.answers() == {asker: "out_of_memory"}
    (refused,) = house.of(e.HoldRefused)
    assert isinstance(refused, e.HoldRefused)
    assert refused.error.status == 503
    assert refused.error.retry_after_seconds
    assert "1536 MiB" in refused.error.detail
    assert house.held("sandboxes") == 0.5
    assert not house.of(e.Stop)


def test_a_model_that_has_just_come_is_spared_for_its_least_time_and_no_longer() -> None:
    house = SharedHouse(entry("a"), budget=4, min_residence_seconds=3.0, hold_wait_seconds=10.0)
    ticket = house.ask("a")
    house.now += 20
    house.loaded("a")
    house.finish(ticket)
    house.hold("sandboxes", 2)
    assert not house.of(e.Stop)
    due = house.core.due(house.now)
    assert due == house.now + 3.0
    house.after(3.0)
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.EVICTED)]


def test_shrinking_and_leaving_wake_the_models_that_wait() -> None:
    house = SharedHouse(entry("a"), entry("b", memory=6))
    house.hold("sandboxes", 5)
    house.ask("a")
    assert house.state("a") is State.COLD
    house.hold("sandboxes", 4)
    assert house.answers() == {house.asked: "held"}
    assert house.state("a") is State.LOADING
    house.loaded("a")
    house.finish(1)
    house.ask("b")
    assert house.state("b") is State.COLD
    assert not house.of(e.Stop)  # with `a` gone too there would not be room
    house.tell(e.HolderLeft("sandboxes"))
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.EVICTED)]
    house.gone("a")
    assert house.state("b") is State.LOADING


def test_what_is_taken_already_is_charged_at_once_and_idle_models_make_up_for_it() -> None:
    house = SharedHouse(entry("a"), entry("b"))
    house.up("a")
    house.up("b")
    asker = house.hold("sandboxes", 3, in_use=True)
    assert house.of(e.Held) == [e.Held(asker, -2 * GIB)]
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.EVICTED)]
    house.gone("a")
    assert house.core.ledger.free_bytes == GIB


def test_beyond_the_budget_nothing_is_loaded_and_every_idle_model_goes_even_if_that_is_not_enough() -> None:
    house = SharedHouse(entry("a"), entry("b"), entry("c"), budget=9)
    working = house.ask("a")
    house.loaded("a")
    house.up("b")
    house.hold("sandboxes", 8, in_use=True)
    assert house.of(e.Stop) == [e.Stop("b", 1, e.Why.EVICTED)]
    house.gone("b")
    house.ask("c")
    assert house.state("c") is State.COLD
    house.finish(working)
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.EVICTED)]
    house.gone("a")
    assert house.state("c") is State.COLD
    house.hold("sandboxes", 6, in_use=True)
    assert house.state("c") is State.LOADING


def test_growth_of_a_holder_waits_behind_a_model_that_came_before_it() -> None:
    house = SharedHouse(entry("a"), entry("b", memory=4), budget=4)
    house.up("a")
    house.ask("b")
    asker = house.hold("sandboxes", 1)
    assert house.answers() == {}
    house.gone("a")
    assert house.state("b") is State.LOADING
    assert house.answers() == {}
    house.loaded("b", measured=3)
    assert house.answers() == {asker: "held"}


def test_growth_passes_a_model_that_waits_for_others_at_work() -> None:
    house = SharedHouse(entry("a"), entry("b"), budget=4)
    house.ask("a")
    house.loaded("a")
    house.ask("b")
    asker = house.hold("sandboxes", 0.5)
    assert house.answers() == {asker: "held"}


def test_growths_of_one_holder_are_granted_in_the_order_they_came() -> None:
    house = SharedHouse(entry("a"))
    house.ask("a")
    house.loaded("a")
    first, second = house.hold("sandboxes", 5), house.hold("sandboxes", 6)
    house.finish(1)
    house.gone("a")
    assert house.answers() == {first: "held", second: "held"}
    assert house.held("sandboxes") == 6


def test_the_second_growth_is_weighed_against_what_the_first_one_took() -> None:
    house = SharedHouse(entry("a"))
    house.ask("a")
    house.loaded("a", measured=3)
    house.hold("sandboxes", 4)
    first, second = house.hold("sandboxes", 6), house.hold("sandboxes", 6.5)
    house.tell(e.Measured("a", 1, GIB, 0))
    assert house.answers() == {first: "held"}
    house.after(6)
    assert house.answers() == {second: "out_of_memory"}
    assert house.held("sandboxes") == 6


def test_growth_that_was_taken_meanwhile_is_granted_and_takes_nothing_back() -> None:
    house = SharedHouse(entry("a"))
    house.ask("a")
    house.loaded("a")
    growing = house.hold("sandboxes", 5)
    measuring = house.hold("sandboxes", 5.5, in_use=True)
    assert house.answers() == {growing: "held", measuring: "held"}
    assert house.held("sandboxes") == 5.5


def test_whoever_gives_up_waiting_gets_nothing() -> None:
    house = SharedHouse(entry("a"))
    house.ask("a")
    house.loaded("a")
    asker = house.hold("sandboxes", 5)
    house.tell(e.HoldAbandoned(asker))
    house.finish(1)
    assert house.effects == []
    assert house.held("sandboxes") == 0


def test_a_holder_that_leaves_while_it_waits_is_told_so() -> None:
    house = SharedHouse(entry("a"))
    house.ask("a")
    house.loaded("a")
    asker = house.hold("sandboxes", 5)
    house.tell(e.HolderLeft("sandboxes"))
    assert house.answers() == {asker: "holder_released"}


def test_a_holder_that_falls_silent_has_left_and_each_word_of_it_counts_as_life() -> None:
    house = SharedHouse(entry("a"))
    house.hold("sandboxes", 6, ttl=10.0)
    house.ask("a")
    house.after(9)
    house.hold("sandboxes", 8, ttl=10.0)  # in vain: all the same it was heard of
    house.after(9)
    assert house.held("sandboxes") == 6
    assert house.core.due(house.now) == house.now + 1
    house.after(1)
    assert house.of(e.HolderSilent) == [e.HolderSilent("sandboxes", 6 * GIB)]
    assert house.state("a") is State.LOADING
    assert house.core.holders.until() == {}


def test_there_are_no_more_holders_than_may_be() -> None:
    house = SharedHouse(entry("a"), holders_limit=2)
    house.hold("one", 1)
    house.hold("two", 1)
    third = house.hold("three", 1, in_use=True)
    assert house.answers() == {third: "too_many_holders"}
    house.hold("two", 2)
    assert house.answers() == {house.asked: "held"}
    house.tell(e.HolderLeft("one"))
    house.hold("three", 1)
    assert house.answers() == {house.asked: "held"}


def test_a_model_that_would_fit_without_the_holders_waits_and_is_told_who_holds_its_memory() -> None:
    house = SharedHouse(entry("a", memory=6), queue_timeout_seconds=100.0)
    house.hold("sandboxes", 2)
    ticket = house.ask("a")
    assert ticket not in house.refused
    house.after(100)
    error = house.refused[ticket].error
    assert (error.status, error.code) == (503, "out_of_memory")
    assert "sandboxes 2.0 GiB" in error.detail
    assert error.retry_after_seconds
    house.tell(e.HolderLeft("sandboxes"))
    house.ask("a")
    assert house.state("a") is State.LOADING


def test_a_model_that_waited_for_its_turn_is_not_told_of_holders() -> None:
    house = SharedHouse(entry("a", memory=4), entry("b", memory=4), queue_timeout_seconds=10.0)
    house.hold("sandboxes", 1)
    house.ask("a")
    house.loaded("a")
    waiting = house.ask("b")
    house.after(10)
    assert house.refused[waiting].error.code == "queue_timeout"


def test_at_the_end_who_waits_is_told_and_nobody_gets_more() -> None:
    house = SharedHouse(entry("a"))
    house.ask("a")
    house.loaded("a")
    waiting = house.hold("sandboxes", 5)
    house.tell(e.CloseDoor())
    assert house.answers() == {waiting: "server_stopping"}
    late = house.hold("sandboxes", 1)
    assert house.answers() == {late: "server_stopping"}
    house.tell(e.Shutdown())
    house.gone("a")
    assert house.core.ended
