"""The core, one event after the other on a virtual clock."""

from __future__ import annotations

import pytest

from models_node.errors import EngineFailed, EngineOutOfMemory, EngineStartTimedOut, MissingWeights
from models_node.residency import events as e
from models_node.residency.decide import Priority, State
from tests.unit.models_node.residency.core_house import GIB, CoreHouse, entry

BATCH = Priority.BATCH


def test_a_cold_model_is_started_once_for_all_who_wait() -> None:
    house = CoreHouse(entry("a"))
    first = house.ask("a")
    assert house.of(e.Start) == [e.Start("a", 1)]
    second = house.ask("a")
    assert not house.of(e.Start)
    house.now += 9
    house.loaded("a")
    assert set(house.granted) == {first, second}
    assert (house.granted[first].load_seconds, house.granted[first].queue_seconds) == (9, 0)


def test_the_reservation_is_corrected_by_what_was_measured_and_remembered() -> None:
    house = CoreHouse(entry("a"), entry("b"))
    ticket = house.ask("a")
    assert house.core.ledger.charged("a") == 3 * GIB
    house.loaded("a", measured=2)
    assert house.core.ledger.charged("a") == 2 * GIB
    house.finish(ticket)
    house.tell(e.Unload("a", 1))
    house.gone("a")
    assert house.core.ledger.held_bytes == 0
    house.ask("a")
    assert house.core.ledger.charged("a") == pytest.approx(2.1 * GIB, rel=0.01)


def test_the_pages_all_engines_share_are_charged_once() -> None:
    house = CoreHouse(entry("a"), entry("b"), budget=6)
    house.up("a")
    house.tell(e.Measured("a", 1, 3 * GIB, GIB))
    house.ask("b")  # 3 + 1 shared leave 2 of 6: `a` has to go first
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.EVICTED)]


def test_an_engine_that_grew_beyond_its_reservation_blocks_the_next_load() -> None:
    house = CoreHouse(entry("a"), entry("b"))
    ticket = house.ask("a")
    house.loaded("a", measured=5)
    house.ask("b")
    assert house.state("b") is State.COLD
    house.finish(ticket)
    assert house.of(e.Stop)
    house.gone("a")
    assert house.state("b") is State.LOADING


def test_memory_is_free_only_when_it_is_seen_to_be_gone() -> None:
    house = CoreHouse(entry("a"), entry("b"), entry("c"))
    house.up("a")
    house.up("b")
    house.ask("c")
    (stop,) = house.of(e.Stop)
    assert isinstance(stop, e.Stop)
    assert house.state("c") is State.COLD
    house.gone(stop.model)
    assert house.state("c") is State.LOADING


def test_a_release_that_fails_keeps_its_memory_charged_and_says_so() -> None:
    house = CoreHouse(entry("a"), entry("b", memory=5))
    house.up("a")
    house.ask("b")
    house.tell(e.Stuck("a", 1, "pid 7 does not end"))
    assert house.core.ledger.charged("a") == 3 * GIB
    assert house.core.slots["a"].stuck == "pid 7 does not end"
    assert house.state("b") is State.COLD
    house.gone("a")
    assert house.state("b") is State.LOADING


def test_requests_for_a_loaded_model_go_ahead_of_a_swap_until_the_patience_of_the_one_that_waits_ends() -> None:
    house = CoreHouse(entry("a"), entry("b"), budget=4, patience_seconds=20.0)
    working = house.ask("a")
    house.loaded("a")
    swapping = house.ask("b")
    house.after(10)
    during = house.ask("a")
    assert during in house.granted
    house.after(10)
    after = house.ask("a")
    assert after not in house.granted
    house.finish(working)
    house.finish(during)
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.EVICTED)]
    house.gone("a")
    house.loaded("b")
    assert swapping in house.granted
    house.finish(swapping)
    house.after(30)
    assert house.state("b") is State.STOPPING  # for the one that came after


def test_a_model_works_for_twice_its_load_before_it_is_drained_for_another() -> None:
    """Two models that both had work for an hour once drained one another by turns, and loaded more than they worked."""
    house = CoreHouse(entry("a"), entry("b"), budget=4, patience_seconds=20.0)
    house.ask("a")
    house.ask("b")
    house.now += 30
    house.loaded("a")
    house.after(59)
    assert house.ask("a") in house.granted
    assert house.core.due(house.now) == house.now + 1
    house.after(1)
    assert house.ask("a") not in house.granted


def test_draining_ends_when_the_one_that_waited_leaves() -> None:
    house = CoreHouse(entry("a"), entry("b"), budget=4, patience_seconds=20.0)
    house.ask("a")
    house.loaded("a")
    impatient = house.ask("b")
    house.after(21)
    held = house.ask("a")
    assert held not in house.granted
    house.finish(impatient)
    assert held in house.granted


def test_interactive_requests_go_before_batch_and_batch_still_gets_its_turn() -> None:
    house = CoreHouse(entry("a", max_concurrent=1), batch_ageing_seconds=60.0)
    working = house.ask("a")
    house.loaded("a")
    batch = house.ask("a", BATCH)
    house.after(10)
    person = house.ask("a")
    house.after(55)
    later = house.ask("a")  # came more than the ageing time after the batch request
    house.finish(working)
    assert person in house.granted
    house.finish(person)
    assert batch in house.granted
    assert later not in house.granted


def test_batch_has_few_places_while_people_chat_and_all_of_them_when_they_do_not() -> None:
    house = CoreHouse(entry("a", max_concurrent=4))
    person = house.ask("a")
    house.loaded("a")
    batch = [house.ask("a", BATCH) for _ in range(4)]
    assert sum(ticket in house.granted for ticket in batch) == 1
    house.finish(person)
    assert all(ticket in house.granted for ticket in batch)


def test_batch_may_take_half_of_a_queue() -> None:
    house = CoreHouse(entry("a"), queue_limit=4)
    for _ in range(2):
        house.ask("a", BATCH)
    full = house.ask("a", BATCH)
    assert house.refused[full].error.code == "queue_full"
    person = house.ask("a")
    assert person not in house.refused


def test_a_models_own_queue_has_a_bound_of_its_own() -> None:
    house = CoreHouse(entry("a", max_waiting=1), entry("b"))
    house.ask("a")
    assert house.ask("a") in house.refused
    assert house.ask("b") not in house.refused


def test_a_full_queue_elsewhere_does_not_refuse_what_need_not_wait() -> None:
    house = CoreHouse(entry("a"), entry("b"), entry("c"), queue_limit=1)
    house.up("a")
    house.ask("b")
    assert house.ask("c") in house.refused
    assert house.ask("a") in house.granted


def test_what_cannot_ever_fit_is_refused_with_the_reason() -> None:
    house = CoreHouse(entry("a", memory=8))
    error = house.refused[house.ask("a")].error
    assert (error.status, error.code) == (503, "out_of_memory")
    assert "needs 8.0 GiB, this node has 7.0 GiB" in error.detail


def test_what_cannot_fit_beside_the_pinned_is_refused_too() -> None:
    house = CoreHouse(entry("a", pinned=True), entry("b", memory=5))
    house.up("a")
    assert "beside the pinned" in house.refused[house.ask("b")].error.detail


def test_a_load_nobody_waits_for_is_given_up_before_its_half_and_finished_after_it() -> None:
    house = CoreHouse(entry("a"))
    house.finish(house.ask("a"))
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.UNWANTED)]
    house.gone("a")
    ticket = house.ask("a")
    house.now += 10
    house.loaded("a")
    house.finish(ticket)
    house.tell(e.Unload("a", 1))
    house.gone("a")
    ticket = house.ask("a")
    house.now += 5
    house.finish(ticket)
    assert house.state("a") is State.LOADING
    house.loaded("a")
    assert house.state("a") is State.READY


def test_keep_alive_counts_from_the_end_of_the_last_request() -> None:
    house = CoreHouse(entry("a", keep_alive_seconds=60.0))
    ticket = house.ask("a")
    house.loaded("a")
    house.after(100)
    house.finish(ticket)
    house.after(59)
    assert house.state("a") is State.READY
    house.after(1)
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.IDLE)]


def test_a_probe_does_not_count_as_use() -> None:
    house = CoreHouse(entry("a", keep_alive_seconds=60.0))
    house.up("a")
    house.after(50)
    house.tell(e.Probed("a", 1, True, house.now))
    house.after(10)
    assert house.state("a") is State.STOPPING


def test_a_load_that_ran_out_of_memory_reserves_more_the_next_time() -> None:
    house = CoreHouse(entry("a", memory=4), entry("b"))
    house.up("b")
    ticket = house.ask("a")
    house.tell(e.Died("a", 1, EngineOutOfMemory("killed by the kernel")))
    assert house.refused[ticket].error.code == "load_failed"
    house.gone("a")
    house.ask("a")
    assert house.of(e.Stop) == [e.Stop("b", 1, e.Why.EVICTED)]  # 5 GiB do not fit beside it


def test_out_of_memory_again_and_again_never_asks_for_more_than_there_is() -> None:
    house = CoreHouse(entry("a", memory=6))
    for generation in (1, 2):
        house.ask("a")
        house.tell(e.Died("a", generation, EngineOutOfMemory("killed by the kernel")))
        house.gone("a")
    house.ask("a")
    assert house.state("a") is State.LOADING
    assert house.core.ledger.charged("a") == 7 * GIB


def test_who_waits_for_a_place_is_served_by_the_reloaded_engine_after_a_crash() -> None:
    house = CoreHouse(entry("a", max_concurrent=1))
    broken = house.ask("a")
    house.loaded("a")
    waiting = house.ask("a")
    house.tell(e.Died("a", 1, EngineFailed("killed by signal 9")))
    house.finish(broken, well=False)
    house.gone("a")
    house.loaded("a")
    assert (house.generation("a"), waiting in house.granted) == (2, True)


def test_repeated_crashes_open_the_breaker_with_the_last_words() -> None:
    house = CoreHouse(entry("a"))
    for generation in (1, 2, 3):
        house.ask("a")
        house.tell(e.Died("a", generation, EngineFailed(f"exit status 1 (the {generation}. time)")))
        house.gone("a")
    error = house.refused[house.ask("a")].error
    assert (error.status, error.code) == (503, "engine_unavailable")
    assert "the 3. time" in error.detail
    assert error.headers["retry-after"] == "30"
    house.after(31)
    house.ask("a")
    assert house.state("a") is State.LOADING
    house.tell(e.Died("a", 4, EngineFailed("again")))
    house.gone("a")
    assert house.refused[house.ask("a")].error.headers["retry-after"] == "60"


def test_an_answer_closes_the_breaker() -> None:
    house = CoreHouse(entry("a"))
    for generation in (1, 2):
        house.ask("a")
        house.tell(e.Died("a", generation, EngineFailed("exit status 1")))
        house.gone("a")
    house.up("a")
    house.ask("a")
    house.tell(e.Died("a", 3, EngineFailed("exit status 1")))
    house.gone("a")
    house.ask("a")
    assert house.state("a") is State.LOADING


def test_missing_weights_are_no_crash() -> None:
    house = CoreHouse(entry("a"))
    for generation in range(1, 6):
        ticket = house.ask("a")
        house.tell(e.Died("a", generation, MissingWeights("no weights in /nowhere")))
        assert house.refused[ticket].error.code == "load_failed"
        house.gone("a")


def test_a_load_that_took_too_long_is_a_504() -> None:
    house = CoreHouse(entry("a"))
    ticket = house.ask("a")
    house.tell(e.Died("a", 1, EngineStartTimedOut("not ready after 300 s")))
    assert house.refused[ticket].error.status == 504


def test_a_quiet_engine_with_work_is_probed_and_one_that_answers_lives_on() -> None:
    house = CoreHouse(entry("a"), quiet_seconds=15.0)
    house.ask("a")
    house.loaded("a")
    assert not [f for f in house.after(14) if isinstance(f, e.Probe)]
    house.tell(e.Tick({"a": house.now}))
    assert not [f for f in house.after(14) if isinstance(f, e.Probe)]
    house.after(1)
    assert house.of(e.Probe) == [e.Probe("a", 1)]
    house.tell(e.Probed("a", 1, True, house.now))
    assert house.state("a") is State.READY
    assert house.core.slots["a"].verified


def test_a_wedged_engine_is_stopped_and_loaded_again() -> None:
    house = CoreHouse(entry("a"), quiet_seconds=15.0)
    ticket = house.ask("a")
    house.loaded("a")
    house.after(15)
    sent = house.now
    house.after(30)
    house.tell(e.Probed("a", 1, False, sent, "no token came within 30 s"))
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.WEDGED)]
    assert house.core.slots["a"].wedged
    house.finish(ticket, well=False)
    house.gone("a")
    assert house.of(e.Start) == [e.Start("a", 2)]
    assert house.core.slots["a"].wedged  # until it has shown that it generates again
    house.loaded("a")
    assert not house.core.slots["a"].wedged


def test_clients_that_keep_coming_do_not_hide_a_wedged_engine() -> None:
    """Each grant once counted as a sign of life, so that a client asking every ten seconds kept the probe away."""
    house = CoreHouse(entry("a"), quiet_seconds=15.0)
    house.ask("a")
    house.loaded("a")
    for _ in range(2):
        house.after(7)
        house.ask("a")
    house.after(1)
    assert house.of(e.Probe) == [e.Probe("a", 1)]


def test_an_unload_calls_the_restart_of_a_wedged_engine_off() -> None:
    house = CoreHouse(entry("a"), entry("b"), budget=4)
    house.ask("a")
    house.loaded("a")
    house.ask("b")
    house.now += 1
    house.tell(e.Probed("a", 1, False, house.now))
    house.gone("a")
    assert house.state("b") is State.LOADING
    house.tell(e.Unload("a", 5))
    assert house.of(e.Unloaded) == [e.Unloaded(5)]
    assert not house.core.slots["a"].wedged


def test_an_engine_that_was_heard_during_a_lost_probe_is_not_wedged() -> None:
    house = CoreHouse(entry("a"), quiet_seconds=15.0)
    house.ask("a")
    house.loaded("a")
    house.after(15)
    sent = house.now
    house.now += 20
    house.tell(e.Tick({"a": house.now}))
    house.tell(e.Probed("a", 1, False, sent))
    assert house.state("a") is State.READY


def test_unload_lets_what_is_in_flight_finish_and_holds_what_comes() -> None:
    house = CoreHouse(entry("a"))
    working = house.ask("a")
    house.loaded("a")
    house.tell(e.Unload("a", 7))
    later = house.ask("a")
    assert later not in house.granted
    house.finish(working)
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.ASKED)]
    house.gone("a")
    assert house.of(e.Unloaded) == [e.Unloaded(7)]
    assert house.of(e.Start) == [e.Start("a", 2)]
    house.loaded("a")
    assert later in house.granted


def test_unload_during_a_load_serves_those_who_waited_first() -> None:
    house = CoreHouse(entry("a"))
    waiting = house.ask("a")
    house.tell(e.Unload("a", 7))
    house.now += 5
    house.loaded("a")
    assert waiting in house.granted
    house.finish(waiting)
    assert house.of(e.Stop) == [e.Stop("a", 1, e.Why.ASKED)]


def test_an_engine_that_can_sleep_sleeps_instead_of_being_stopped() -> None:
    house = CoreHouse(entry("a"), entry("b"), budget=4, sleep_budget_bytes=4 * GIB)
    ticket = house.ask("a")
    house.loaded("a", can_sleep=True)
    house.finish(ticket)
    swapping = house.ask("b")
    assert house.of(e.Sleep) == [e.Sleep("a", 1, 1, e.Why.EVICTED)]
    house.tell(e.Slept("a", 1, left_bytes=GIB // 2, parked_bytes=2 * GIB))
    assert house.state("b") is State.LOADING
    house.loaded("b", can_sleep=True)
    house.finish(swapping)
    house.ask("a")
    assert house.of(e.Sleep) == [e.Sleep("b", 1, 2, e.Why.EVICTED)]  # main memory is full: without its weights
    house.tell(e.Slept("b", 1, left_bytes=0))
    assert house.of(e.Wake) == [e.Wake("a", 1)]
    house.tell(e.Woken("a", 1))
    assert house.state("a") is State.READY


def test_events_about_an_earlier_engine_mean_nothing() -> None:
    house = CoreHouse(entry("a"))
    house.up("a")
    house.tell(e.Unload("a", 1))
    house.gone("a")
    house.ask("a")
    house.tell(e.Died("a", 1, EngineFailed("late")))
    house.tell(e.Gone("a", 1))
    assert house.state("a") is State.LOADING


def test_shutdown_refuses_and_stops_everything_and_ends_when_all_is_gone() -> None:
    house = CoreHouse(entry("a"), entry("b"), entry("c"))
    house.up("a")
    loading, queued = house.ask("b"), house.ask("c")
    house.tell(e.Shutdown())
    assert {loading, queued} <= set(house.refused)
    assert not house.core.ended
    assert house.refused[house.ask("a")].error.code == "server_stopping"
    for model in ("a", "b"):
        house.gone(model)
    assert house.core.ended


def test_the_core_says_when_it_wants_to_be_asked_again() -> None:
    house = CoreHouse(entry("a", keep_alive_seconds=7.0), patience_seconds=20.0, queue_timeout_seconds=50.0)
    assert house.core.due(house.now) is None
    house.up("a")
    assert house.core.due(house.now) == house.now + 7
