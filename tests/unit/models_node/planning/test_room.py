"""What fits together is worked out by residency's own rules."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from models_node.catalogue import ModelEntry
from models_node.planning.room import MOST_SETS, Swap, maximal_sets, room
from models_node.residency.ledger import MARGIN

GIB = 2**30


def entry(model: str, gib: float, *, pinned: bool = False, priority: int = 1) -> ModelEntry:
    return ModelEntry(
        id=model, domain="general", description="", context_length=1, weights=model, memory_estimate=int(gib * GIB),
        pinned=pinned, priority=priority,
    )  # fmt: skip


def remote(model: str) -> ModelEntry:
    return ModelEntry(id=model, domain="general", description="", context_length=1, remote_url="http://x")


def test_all_fit_when_their_sum_is_within_the_budget() -> None:
    found = room([entry("a", 3), entry("b", 4), remote("far")], 7 * GIB)
    assert found.all_fit
    assert [fitting.models for fitting in found.sets] == [("a", "b")]
    assert found.sets[0].left_bytes == 0
    assert found.needed == {"a": 3 * GIB, "b": 4 * GIB}


def test_the_largest_sets_and_who_goes_for_the_rest() -> None:
    found = room([entry("small", 2), entry("middle", 4), entry("big", 7)], 9 * GIB)
    assert [fitting.models for fitting in found.sets] == [("small", "big"), ("small", "middle")]
    assert found.sets[0].swaps == (Swap("middle", ("big",), 7 * GIB),)
    # One small one is cheaper to have again, but it does not make the room.
    assert found.sets[1].swaps == (Swap("big", ("middle",), 4 * GIB),)
    assert not found.all_fit
    assert not found.never


def test_a_higher_priority_stays_longer() -> None:
    found = room([entry("a", 4, priority=5), entry("b", 4, priority=1), entry("c", 4)], 8 * GIB)
    swaps = {fitting.models: fitting.swaps for fitting in found.sets}
    assert swaps["a", "b"] == (Swap("c", ("b",), 4 * GIB),)


def test_what_can_never_fit_is_told_in_admissions_words() -> None:
    found = room([entry("a", 3), entry("huge", 20)], 8 * GIB)
    assert found.never == {"huge": "model 'huge' needs 20.0 GiB, this node has 8.0 GiB for it"}
    assert [fitting.models for fitting in found.sets] == [("a",)]
    assert not found.all_fit


def test_a_pinned_model_is_in_every_set_and_takes_its_room_for_good() -> None:
    found = room([entry("stays", 5, pinned=True), entry("a", 3), entry("b", 3), entry("c", 6)], 8 * GIB)
    assert [fitting.models for fitting in found.sets] == [("stays", "a"), ("stays", "b")]
    assert found.never == {"c": "model 'c' needs 6.0 GiB, this node has 3.0 GiB for it beside the pinned models"}
    assert found.sets[0].swaps == (Swap("b", ("a",), 3 * GIB),)


def test_pinned_models_that_do_not_fit_together_are_both_refused() -> None:
    found = room([entry("p", 5, pinned=True), entry("q", 5, pinned=True), entry("a", 1)], 8 * GIB)
    assert set(found.never) == {"p", "q"}
    assert [fitting.models for fitting in found.sets] == [("a",)]


def test_a_measured_model_reserves_what_it_took_and_a_margin() -> None:
    found = room([entry("a", 3), entry("b", 4)], 9 * GIB, measured={"a": 5 * GIB})
    assert found.needed == {"a": int(5 * GIB * MARGIN), "b": 4 * GIB}
    assert not found.all_fit


def test_a_measured_model_that_fits_alone_is_not_refused_for_its_margin() -> None:
    found = room([entry("a", 3)], 5 * GIB, measured={"a": 5 * GIB})
    assert not found.never
    assert found.needed == {"a": 5 * GIB}


def test_what_all_engines_share_is_nobodys_to_use() -> None:
    found = room([entry("a", 4), entry("b", 4)], 8 * GIB, shared_bytes=GIB)
    assert found.usable_bytes == 7 * GIB
    assert [fitting.models for fitting in found.sets] == [("a",), ("b",)]


def test_sleepers_fit_the_sleep_budget_together() -> None:
    found = room([entry("a", 4), entry("b", 3), entry("c", 9)], 9 * GIB, sleep_budget_bytes=7 * GIB)
    assert found.parked == (("a", "b"),)


def test_many_equal_models_are_told_up_to_a_bound() -> None:
    found = room([entry(f"m{number}", 1) for number in range(40)], 20 * GIB)
    assert len(found.sets) == MOST_SETS
    assert found.more_sets


def test_a_catalogue_of_remote_models_needs_nothing() -> None:
    found = room([remote("far")], GIB)
    assert (found.needed, found.sets, found.never) == ({}, (), {})


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 12), max_size=8),
    st.integers(1, 40),
    st.sets(st.sampled_from("abcdefgh")),
)
def test_maximal_sets_are_exactly_those_that_fit_and_cannot_grow(
    sizes: dict[str, int], budget: int, wanted: set[str]
) -> None:
    always = wanted & set(sizes)
    if sum(sizes[model] for model in always) > budget:
        always = set()
    every = [
        set(chosen)
        for count in range(len(sizes) + 1)
        for chosen in combinations(sizes, count)
        if always <= set(chosen) and sum(sizes[model] for model in chosen) <= budget
    ]
    largest = [chosen for chosen in every if chosen and not any(chosen < other for other in every)]
    found = list(maximal_sets(sizes, budget, always))
    assert sorted(map(sorted, found)) == sorted(map(sorted, largest))
