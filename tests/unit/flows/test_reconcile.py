"""Batches followed in a Prefect that is a dict."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Running

from db.batches import Begun
from db.records import RunStatus
from flows.reconcile import follow_batches
from wire.ids import uuid7


class Prefect:
    def __init__(self, states: dict[uuid.UUID, State[Any]]) -> None:
        self.states = states

    async def states_among(self, flow_run_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, State[Any]]:
        return {one: self.states[one] for one in flow_run_ids if one in self.states}


class Rows:
    def __init__(self, *flow_runs: uuid.UUID) -> None:
        self.batches = {uuid7(): flow_run for flow_run in flow_runs}
        self.closed: list[tuple[RunStatus, str | None]] = []

    async def unrecorded_batches(self, limit: int) -> list[Begun]:
        return [Begun(run, "ana", "0" * 32, flow_run) for run, flow_run in self.batches.items()][:limit]

    async def close_batch(self, run_id: uuid.UUID, status: RunStatus, code: str | None, detail: str | None) -> None:
        self.closed.append((status, code))

    async def link_flow(self, run_id: uuid.UUID, flow_run_id: uuid.UUID, *, recorded: bool) -> None:
        assert recorded and self.batches.pop(run_id) == flow_run_id


async def test_batches_that_ended_in_prefect_are_closed_and_those_under_way_are_not() -> None:
    ended, cancelled, under_way = uuid7(), uuid7(), uuid7()
    rows = Rows(ended, cancelled, under_way)
    await follow_batches(Prefect({ended: Completed(), cancelled: Cancelled(), under_way: Running()}), rows)  # type: ignore[arg-type]
    assert rows.closed == [("completed", None), ("cancelled", "flow_cancelled")]
    assert list(rows.batches.values()) == [under_way]


async def test_a_batch_whose_flow_run_prefect_lost_does_not_stay_queued_for_ever() -> None:
    rows = Rows(uuid7())
    await follow_batches(Prefect({}), rows)  # type: ignore[arg-type]
    assert rows.closed == [("crashed", "flow_lost")] and not rows.batches
