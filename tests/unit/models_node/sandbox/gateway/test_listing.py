"""Lists: filters and pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import hypothesis.strategies as st
import pytest
from hypothesis import given

from models_node.sandbox.gateway.listing import page, read_query, token
from models_node.sandbox.gateway.records import Claim, Sandbox, State
from models_node.sandbox.gateway.shapes import wall
from wire.errors import InvalidRequest


def sandbox(number: int, started_at: float = 0.0, **metadata: str) -> Sandbox:
    claim = Claim("ana", "base", metadata, 60, egress=False, envd_token="e", traffic_token="t")
    return Sandbox(f"s{number}", 0.0, State.RUNNING, claim, started_at=started_at, ends_at=100.0)


def ids(sandboxes: list[Sandbox], **asked: Any) -> list[str]:
    return [each.id for each in page(sandboxes, read_query(**asked))[0]]


def as_the_sdk_does(metadata: dict[str, str]) -> str:
    return urlencode({quote(name): quote(value) for name, value in metadata.items()})


@given(st.dictionaries(st.text(min_size=1, max_size=10), st.text(max_size=10), min_size=1, max_size=4))
def test_metadata_is_read_as_the_sdk_writes_it(metadata: dict[str, str]) -> None:
    try:
        written = as_the_sdk_does(metadata)
    except UnicodeEncodeError:
        return  # the SDK cannot send it
    assert read_query(metadata=written).metadata == metadata


def test_every_pair_of_metadata_has_to_be_there() -> None:
    known = [sandbox(1, a="1", b="2"), sandbox(2, a="1"), sandbox(3)]
    assert ids(known, metadata="a=1&b=2") == ["s1"]
    assert set(ids(known, metadata="a=1")) == {"s1", "s2"}
    assert ids(known, metadata="a=2") == []


def test_states_are_filtered_and_none_is_paused_here() -> None:
    known = [sandbox(1)]
    assert ids(known, state=["running"]) == ids(known, state=["running,paused"]) == ids(known) == ["s1"]
    assert ids(known, state=["paused"]) == []


def test_templates_and_times_are_filtered() -> None:
    known = [sandbox(1, 10.0), sandbox(2, 20.0)]
    assert ids(known, template="code-interpreter-v1") == []
    assert len(ids(known, template="base")) == 2
    after = (wall(10.0) + timedelta(seconds=1)).isoformat()
    assert ids(known, started_after=after) == ["s2"]


@given(st.lists(st.floats(0, 10), max_size=30), st.integers(1, 7), st.booleans())
def test_pages_together_are_the_whole_list_in_order(starts: list[float], limit: int, ascending: bool) -> None:
    known = [sandbox(number, at) for number, at in enumerate(starts)]
    asked: dict[str, Any] = {"limit": str(limit), "order": "asc" if ascending else "desc"}
    seen: list[Sandbox] = []
    following: str | None = None
    while True:
        here, following = page(known, read_query(next_token=following, **asked))
        seen += here
        assert len(here) <= limit
        if following is None:
            break
    assert seen == sorted(known, key=lambda s: (s.started_at, s.id), reverse=not ascending)


def test_a_page_goes_on_where_the_last_one_ended_though_its_last_is_gone() -> None:
    known = [sandbox(number, float(number)) for number in range(4)]
    here, following = page(known, read_query(limit="2"))
    assert [each.id for each in here] == ["s3", "s2"]
    assert following == token(here[-1])
    assert ids(known[:2], next_token=following) == ["s1", "s0"]


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"limit": "x"},
        {"limit": "-1"},
        {"limit": "9" * 30},
        {"limit": "000001" + "0" * 5000},
        {"next_token": "W1tbW1tb" * 4000},
        {"next_token": "WzFlMzA5LCAieCJd" * 100},
        {"started_after": "0001-01-01T00:00"},
        {"state": ["sleeping"]},
        {"order": "sideways"},
        {"next_token": "nonsense"},
        {"next_token": "bnVsbA"},
        {"started_after": "yesterday"},
    ],
)
def test_a_wrong_parameter_is_refused_by_name(asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        read_query(**asked)
