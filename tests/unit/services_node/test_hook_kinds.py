"""Every kind of run can be heard of by a hook."""

from __future__ import annotations

from db.runs import KINDS
from services_node.chat_api.offered_flows import OFFERED


def test_every_flow_that_can_be_begun_is_a_kind_that_hooks_take() -> None:
    assert set(OFFERED) <= set(KINDS)
    assert len(KINDS) == len(set(KINDS))
