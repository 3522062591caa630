"""Loading, eviction, draining and expiry over plain values."""

from __future__ import annotations

from models_node.residency.decide import Plan, Resident, State, expired, finish_unwanted_load, plan, value

GIB = 2**30
PATIENCE = 20.0


def wanted(model: str, since: float = 0.0, memory: int = 3, **fields: bool) -> Resident:
    return Resident(model, State.COLD, 0, memory * GIB, waiting_since=since, **fields)  # type: ignore[arg-type]


def ready(model: str, *, memory: int = 3, **fields: float | bool | None) -> Resident:
    return Resident(model, State.READY, memory * GIB, 0, **fields)  # type: ignore[arg-type]


def planned(residents: list[Resident], free: int, now: float = 1.0) -> Plan:
    return plan(residents, free * GIB, now, PATIENCE)


def test_nothing_is_loaded_that_nobody_waits_for() -> None:
    assert planned([Resident("a", State.COLD, 0, GIB), ready("b")], 7) == Plan()


def test_what_fits_is_loaded_at_once_the_first_to_come_first() -> None:
    assert planned([wanted("a", 0.5), wanted("b", 0.2), wanted("c", 0.9)], 7) == Plan(start=("b", "a"))


def test_the_least_valuable_idle_model_makes_room() -> None:
    assert planned([ready("a", value=5), ready("b", value=3), wanted("c")], 1) == Plan(evict=("b",))


def test_equal_values_are_told_apart_by_the_last_use() -> None:
    assert planned([ready("a", last_used=5), ready("b", last_used=3), wanted("c")], 1) == Plan(evict=("b",))


def test_work_in_flight_is_never_evicted() -> None:
    residents = [ready("a", in_flight=1), ready("b", value=9), wanted("c")]
    assert planned(residents, 1) == Plan(evict=("b",))
    assert planned([residents[0], wanted("c")], 1) == Plan()


def test_a_model_that_requests_wait_for_is_not_idle() -> None:
    assert planned([ready("a", waiting_since=0.9), ready("b", in_flight=1), wanted("c")], 1) == Plan()


def test_pinned_models_stay() -> None:
    assert planned([ready("a", pinned=True), wanted("c")], 1) == Plan()
    assert planned([ready("a", pinned=True, in_flight=1), wanted("c")], 1, now=99) == Plan()


def test_a_model_stays_for_its_least_time() -> None:
    residents = [ready("a", loaded_at=10, residence_seconds=5), wanted("c", since=11)]
    assert planned(residents, 1, now=14) == Plan()
    assert planned(residents, 1, now=15) == Plan(evict=("a",))


def test_memory_on_its_way_out_is_waited_for_and_nothing_more_is_evicted() -> None:
    assert planned([Resident("a", State.STOPPING, 3 * GIB, 0), ready("b"), wanted("c")], 0) == Plan()


def test_memory_that_does_not_come_back_is_not_waited_for() -> None:
    stuck = Resident("a", State.STOPPING, 3 * GIB, 0, stuck=True)
    assert planned([stuck, ready("b"), wanted("c")], 0) == Plan(evict=("b",))


def test_several_small_ones_go_for_a_big_one_and_no_more_than_needed() -> None:
    residents = [ready(name, value=rank, memory=1) for rank, name in enumerate("abcd")]
    assert planned([*residents, wanted("big", memory=2)], 0) == Plan(evict=("a", "b"))


def test_the_cheapest_choice_may_be_one_dear_model_instead_of_many_cheap_ones() -> None:
    many = [ready(name, value=2, memory=1) for name in "abcd"]
    assert planned([*many, ready("dear", value=5, memory=4), wanted("want", memory=4)], 0) == Plan(evict=("dear",))


def test_more_models_than_are_combined_still_make_room() -> None:
    many = [ready(f"m{number:02}", value=number, memory=1) for number in range(12)]
    names = tuple(f"m{number:02}" for number in range(11))
    assert planned([*many, wanted("want", memory=11)], 0) == Plan(evict=names)


def test_a_small_one_is_spared_when_a_big_one_has_to_go_anyway() -> None:
    residents = [ready("small", value=0, memory=1), ready("big", value=1, memory=4)]
    assert planned([*residents, wanted("c", memory=4)], 0) == Plan(evict=("big",))


def test_nobody_is_evicted_for_a_model_that_would_not_fit_anyway() -> None:
    assert planned([ready("a"), ready("b", in_flight=1), wanted("c", memory=6)], 1) == Plan()


def test_while_the_others_work_a_later_small_one_may_pass_one_that_is_patient() -> None:
    residents = [ready("a", in_flight=1, memory=6), wanted("big", 0.0, 6), wanted("small", 0.5, 1)]
    assert planned(residents, 1, now=5) == Plan(start=("small",))


def test_after_its_patience_models_at_work_are_drained_and_nobody_passes() -> None:
    residents = [ready("a", in_flight=1, memory=6), wanted("big", 0.0, 6), wanted("small", 0.5, 1)]
    assert planned(residents, 1, now=PATIENCE) == Plan(drain=("a",))


def test_draining_goes_on_with_the_same_models() -> None:
    residents = [
        ready("a", in_flight=1, value=9, draining=True),
        ready("b", in_flight=1, value=1),
        wanted("c", 0.0),
    ]
    assert planned(residents, 0, now=PATIENCE + 1) == Plan(drain=("a",))


def test_sleepers_that_are_wanted_again_give_way_to_one_that_has_waited_too_long() -> None:
    """Three sleepers with later requests once held the memory the first one needed, and all waited for ever."""
    asleep = Resident("a", State.ASLEEP, GIB, 2 * GIB, waiting_since=5.0)
    residents = [asleep, ready("b", memory=4), wanted("big", 0.0, 7)]
    assert planned(residents, 2, now=PATIENCE) == Plan(evict=("a", "b"))


def test_a_sleeper_that_is_being_woken_is_not_evicted_in_the_same_breath() -> None:
    asleep = Resident("a", State.ASLEEP, GIB, 2 * GIB, waiting_since=0.0)
    residents = [asleep, ready("b", memory=5), wanted("big", 1.0, 5)]
    assert planned(residents, 2, now=PATIENCE + 1) == Plan(start=("a",), evict=("b",))


def test_memory_that_is_stuck_for_good_does_not_hold_up_those_that_fit_beside_it() -> None:
    stuck = Resident("a", State.STOPPING, 5 * GIB, 0, stuck=True)
    assert planned([stuck, wanted("big", 0.0, 6), wanted("small", 1.0, 1)], 2, now=PATIENCE) == Plan(start=("small",))


def test_a_model_wanted_again_while_it_stops_waits_for_its_end() -> None:
    again = Resident("a", State.STOPPING, 3 * GIB, 0, waiting_since=0.1)
    assert planned([again, wanted("b", 0.2)], 3) == Plan()


def test_what_is_held_back_is_not_started_and_holds_nobody_up() -> None:
    assert planned([wanted("a", 0.1, held_back=True), wanted("b", 0.2)], 3) == Plan(start=("b",))


def test_growth_beyond_the_budget_is_mended_first() -> None:
    residents = [ready("a", value=1), ready("b", value=2, memory=5), wanted("c")]
    assert planned(residents, -1) == Plan(evict=("a",))


def test_beyond_the_budget_every_idle_model_goes_even_if_that_is_not_enough() -> None:
    residents = [ready("a"), ready("b", in_flight=1), ready("c", memory=1)]
    assert planned(residents, -5) == Plan(evict=("a", "c"))


def test_beyond_the_budget_models_at_work_are_drained_for_one_that_has_waited_too_long() -> None:
    residents = [ready("a", in_flight=1), ready("b", in_flight=1, value=5), wanted("c", 1.0)]
    assert planned(residents, -1, now=5) == Plan()
    assert planned(residents, -1, now=PATIENCE + 1) == Plan(drain=("a",))


def test_a_sleeper_is_woken_where_that_fits_and_goes_when_room_is_needed() -> None:
    asleep = Resident("a", State.ASLEEP, GIB, 2 * GIB, waiting_since=0.1)
    assert planned([asleep], 2) == Plan(start=("a",))
    assert planned([Resident("a", State.ASLEEP, GIB, 2 * GIB), wanted("b")], 2) == Plan(evict=("a",))


def test_only_idle_models_that_nobody_waits_for_expire() -> None:
    residents = [
        ready("a", last_used=10), ready("b", last_used=99), ready("c", in_flight=1), wanted("d"),
        ready("e", pinned=True), ready("f", waiting_since=1.0),
    ]  # fmt: skip
    assert expired(residents, 100, dict.fromkeys("abcdef", 60.0)) == ("a",)


def test_value_is_the_seconds_of_loading_that_recent_use_would_cost_again() -> None:
    assert value(10, 30, 0) == 300
    assert value(10, 30, 1) == 600


def test_an_unwanted_load_is_finished_when_half_of_it_is_done() -> None:
    assert not finish_unwanted_load(4, 10)
    assert finish_unwanted_load(5, 10)
    assert not finish_unwanted_load(500, None)
