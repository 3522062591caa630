"""The plan's words, and the page that shows them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models_node.catalogue import read_catalogue
from models_node.planning.needs import Need, needs
from models_node.planning.report import Planned, as_json, as_text
from models_node.planning.room import room
from models_node.profiles import profiles
from stack.settings import REPOSITORY
from tests.unit.models_node.planning.test_room import entry

GIB = 2**30


def planned(home: Path) -> Planned:
    catalogue = read_catalogue(REPOSITORY / "models_node" / "catalog.production.toml")
    return Planned(
        source="catalog.production.toml",
        profile="arm-axion",
        needs=needs(catalogue, profiles()["arm-axion"], home),
        room=room(catalogue.models, catalogue.limits.memory_budget),
        measured={},
    )


def test_the_page_on_models_shows_the_production_plan_as_it_is(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")
    assert as_text(planned(tmp_path)) in page, "paste: ./capibara6 models plan --catalogue …/catalog.production.toml"


def test_json_has_bytes_and_every_model(tmp_path: Path) -> None:
    told = json.loads(json.dumps(as_json(planned(tmp_path))))
    assert told["budget_bytes"] == 112 * GIB
    assert told["models"][0]["model"] == "phi4_fast"
    assert told["models"][0]["reserved_bytes"] == int(15.5 * GIB)
    assert told["sleep"] is None
    assert told["sets"][0]["swaps"][0]["evicts"] == ["aya_expanse_multilingual"]


def text(*needed: Need, budget: int = 8, sleep: int | None = None) -> str:
    models = [entry(need.model, need.estimate_bytes / GIB, pinned=need.pinned) for need in needed]
    found = room(models, budget * GIB, measured={"a": 2 * GIB}, sleep_budget_bytes=sleep or 0)
    return as_text(Planned("x.toml", "cuda", needed, found, {"a": 2 * GIB}, ("far",), sleep))


A = Need("a", 4 * GIB, GIB, True, GIB, False)


def test_what_was_measured_is_told_beside_the_estimate() -> None:
    told = text(A)
    assert "4.00 GiB  2.00 GiB  2.10 GiB      yes" in told
    assert "All fit at once: 2.10 GiB, 5.90 GiB are left." in told
    assert "On other machines, nothing of this memory: far" in told


def test_an_estimate_that_is_too_small_and_a_model_that_never_fits_stand_out() -> None:
    told = text(A, Need("b", 10 * GIB, 9 * GIB, False, GIB, False))
    assert "! b: its estimate is too small: beside weights and KV cache it leaves 0.00 GiB for the engine" in told
    assert "! can never be loaded: model 'b' needs 10.0 GiB, this node has 8.0 GiB for it" in told


def test_a_pinned_model_that_bars_another_is_told() -> None:
    told = text(A, Need("b", 5 * GIB, GIB, False, GIB, True), Need("c", 2 * GIB, None, False, 0, False))
    assert "b (pinned)" in told
    assert "for c: a, which frees 2.10 GiB" in told


@pytest.mark.parametrize(
    ("budget", "told"), [(0, "has no `sleep_budget`"), (GIB, "none fits"), (3 * GIB, "at level 1 together: a")]
)
def test_on_cuda_it_says_how_evicted_engines_sleep(budget: int, told: str) -> None:
    assert told in text(A, sleep=budget)
