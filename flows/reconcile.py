"""Keeping Prefect in step with our rows: what it missed while it was down, and what a lost process left open.

Prefect's API gives every state the time at which it is told of it. A run recorded later therefore says in its state's
message when it really ran.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from prefect.client.schemas.objects import State

from db.batches import Begun
from db.records import RunRecord, RunStatus
from flows.flow_runs import state_of
from flows.link import Outcome, labels_of
from flows.prefect_api import PrefectApi, is_outage

log = logging.getLogger("flows.reconcile")

WINDOW = timedelta(hours=24)
BATCH = 50
FOLLOWED = 200  # batches, the oldest: as many flow runs as Prefect tells at once


class RunStore(Protocol):
    """The rows, as asked from the flow thread."""

    async def unrecorded(self, since: datetime, limit: int) -> list[RunRecord]: ...

    async def link_flow(self, run_id: uuid.UUID, flow_run_id: uuid.UUID, *, recorded: bool) -> None: ...


class BatchStore(Protocol):
    async def unrecorded_batches(self, limit: int) -> list[Begun]: ...

    async def close_batch(self, run_id: uuid.UUID, status: RunStatus, code: str | None, detail: str | None) -> None: ...

    async def link_flow(self, run_id: uuid.UUID, flow_run_id: uuid.UUID, *, recorded: bool) -> None: ...


async def sweep(api: PrefectApi) -> int:
    """Closes as CRASHED the flow runs that earlier processes of this stack left open. Returns how many."""
    closed = 0
    lost = Outcome("crashed", "The chat API ended before this run did.", datetime.now(UTC))
    while left := await api.open_of_earlier_instances():
        for flow_run in left:
            await api.force_state(flow_run.id, state_of(lost))
        closed += len(left)
    if closed:
        log.info("closed abandoned flow runs", extra={"count": closed})
    return closed


async def record_missed(api: PrefectApi, store: RunStore, skip: Callable[[uuid.UUID], bool]) -> int:
    """Shows in Prefect the ended runs of the last day that it doesn't know the end of. Returns how many.

    Raises what `is_outage` knows as one; a run that Prefect refuses for another reason is logged and left.
    """
    recorded = 0
    while True:
        since = datetime.now(UTC) - WINDOW
        missed = [run for run in await store.unrecorded(since, BATCH) if not skip(run.id)]
        progress = 0
        for run in missed:
            try:
                flow_run_id = await _record(api, run)
            except Exception as error:
                if is_outage(error):
                    raise
                log.warning("Prefect refuses a run", extra={"run": str(run.id), "reason": str(error)})
                continue
            await store.link_flow(run.id, flow_run_id, recorded=True)
            progress += 1
        recorded += progress
        if not progress:
            break
    if recorded:
        log.info("recorded missed runs in Prefect", extra={"count": recorded})
    return recorded


async def follow_batches(api: PrefectApi, store: BatchStore) -> None:
    """Closes batches whose flow run ended in Prefect (cancelled, crashed, removed) without saying so in our rows."""
    waiting = {one.flow_run_id: one.id for one in await store.unrecorded_batches(FOLLOWED) if one.flow_run_id}
    if not waiting:
        return
    known = await api.states_among(waiting)
    for flow_run_id, run_id in waiting.items():
        state = known.get(flow_run_id)
        if state is None:
            await store.close_batch(run_id, "crashed", "flow_lost", "Prefect does not know its flow run any more.")
        elif state.is_final():
            status = _status_of(state)
            code, detail = (None, None) if status == "completed" else (f"flow_{status}", state.message)
            await store.close_batch(run_id, status, code, detail)
        else:
            continue
        await store.link_flow(run_id, flow_run_id, recorded=True)


def _status_of(state: State[Any]) -> RunStatus:
    known: dict[str, RunStatus] = {"COMPLETED": "completed", "CANCELLED": "cancelled", "CRASHED": "crashed"}
    return known.get(state.type.value, "failed")


async def _record(api: PrefectApi, run: RunRecord) -> uuid.UUID:
    """Gives one ended run its flow run in the same final state, unless it has that. Returns the flow run's id."""
    ended_at = run.ended_at or datetime.now(UTC)
    message = f"{run.error_code}: {run.error_detail}" if run.error_code else "The run ended well."
    note = f"(Recorded afterwards; it ran {_moment(run.started_at or run.created_at)} to {_moment(ended_at)}.)"
    state = state_of(Outcome(run.status, message, ended_at), note)
    flow_run = await api.create_run(run.kind, run.id, run.conversation_id, state, labels_of(run))
    if flow_run.state is None or flow_run.state.type != state.type:  # it was there already, in another state
        await api.force_state(flow_run.id, state)
    return flow_run.id


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
