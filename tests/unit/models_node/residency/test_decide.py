"""Loading, eviction and admission over plain values."""

from __future__ import annotations

import dataclasses

import pytest

from models_node.residency.decide import Admission, Plan, Resident, State, admit, expired, plan

GIB = 2**30


def cold(model: str, **fields: int) -> Resident:
    return Resident(model, State.COLD, 3 * GIB, **fields)


def wanted(model: str, order: int = 1, memory: int = 3 * GIB) -> Resident:
    return Resident(model, State.COLD, memory, waiting=1, oldest_wait=order)


def ready(model: str, *, last_used: float = 0.0, memory: int = 3 * GIB, **fields: int) -> Resident:
    return Resident(model, State.READY, memory, last_used=last_used, **fields)


def test_nothing_is_loaded_that_nobody_waits_for() -> None:
    assert plan([cold("a"), cold("b")], 7 * GIB) == Plan()


def test_what_fits_is_loaded_at_once_oldest_request_first() -> None:
    assert plan([wanted("a", 2), wanted("b", 1)], 7 * GIB) == Plan(load=("b", "a"))


def test_a_third_model_evicts_the_least_recently_used_idle_one() -> None:
    residents = [ready("a", last_used=5), ready("b", last_used=3), wanted("c")]
    assert plan(residents, 7 * GIB) == Plan(evict=("b",))


def test_work_in_flight_is_never_evicted() -> None:
    residents = [ready("a", last_used=5), ready("b", last_used=3, in_flight=1), wanted("c")]
    assert plan(residents, 7 * GIB) == Plan(evict=("a",))
    residents[0] = dataclasses.replace(residents[0], in_flight=2)
    assert plan(residents, 7 * GIB) == Plan()


def test_a_model_that_requests_wait_for_is_not_idle() -> None:
    assert plan([ready("a", waiting=1), ready("b", in_flight=1), wanted("c")], 7 * GIB) == Plan()


def test_a_loading_engine_is_not_evicted() -> None:
    residents = [Resident("a", State.LOADING, 3 * GIB, waiting=1), ready("b", in_flight=1), wanted("c", 2)]
    assert plan(residents, 7 * GIB) == Plan()


def test_memory_on_its_way_out_is_waited_for_and_nothing_more_is_evicted() -> None:
    residents = [Resident("a", State.STOPPING, 3 * GIB), ready("b"), wanted("c")]
    assert plan(residents, 7 * GIB) == Plan()


def test_several_small_ones_go_for_a_big_one_and_no_more_than_needed() -> None:
    residents = [ready(name, last_used=age, memory=GIB) for age, name in enumerate("abcd")]
    assert plan([*residents, wanted("big", memory=2 * GIB)], 4 * GIB) == Plan(evict=("a", "b"))


def test_nobody_is_evicted_for_a_model_that_would_not_fit_anyway() -> None:
    assert plan([ready("a"), ready("b", in_flight=1), wanted("c", memory=6 * GIB)], 7 * GIB) == Plan()


def test_a_big_model_that_waits_is_not_overtaken_by_later_small_ones() -> None:
    residents = [ready("a", in_flight=1), wanted("big", 1, 6 * GIB), wanted("small", 2, GIB)]
    assert plan(residents, 7 * GIB) == Plan()


def test_a_model_wanted_again_while_it_stops_waits_for_its_end() -> None:
    assert plan([Resident("a", State.STOPPING, 3 * GIB, waiting=1, oldest_wait=1)], 7 * GIB) == Plan()


@pytest.mark.parametrize(
    ("resident", "queued", "verdict"),
    [
        (ready("a"), 0, Admission.GRANT),
        (ready("a", in_flight=4), 0, Admission.QUEUE),
        (ready("a", waiting=1), 1, Admission.QUEUE),
        (cold("a"), 0, Admission.QUEUE),
        (cold("a"), 2, Admission.QUEUE_FULL),
        (ready("a"), 2, Admission.GRANT),
        (wanted("a", memory=8 * GIB), 0, Admission.OUT_OF_MEMORY),
    ],
)
def test_admission(resident: Resident, queued: int, verdict: Admission) -> None:
    assert admit(resident, max_concurrent=4, queued=queued, queue_limit=2, budget_bytes=7 * GIB) is verdict


def test_only_idle_engines_expire() -> None:
    residents = [ready("a", last_used=10), ready("b", last_used=99), ready("c", in_flight=1), cold("d")]
    assert expired(residents, 100, dict.fromkeys("abcd", 60.0)) == ("a",)
