"""Writing the table of deployments to Prefect, and taking over what an earlier worker left under way there."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import psutil
from prefect import Flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron, Schedule
from prefect.states import Cancelled, Scheduled
from prefect.types.entrypoint import EntrypointType

from flows.deployments import SERVED_TAG, Deployment, KnownSchedule, gone, stays_paused

log = logging.getLogger("flows.deploying")

RETRY_SECONDS = 2.0
LOOK_SECONDS = 30.0  # between looks for flow runs that no process is at
PAGE = 200  # flow runs, the most that Prefect tells at once
OPEN_STATES = ["PENDING", "RUNNING", "CANCELLING"]

T = TypeVar("T")


class BatchRunner(Runner):
    """Prefect's runner, but for its end: what it has under way is neither cancelled nor crashed then, and is gone on
    with by the next worker. stop_seconds: what the batches' processes may use to clean up.
    """

    stop_seconds: float = 10.0

    def handle_sigterm(self, *_args: Any, **_named: Any) -> None:
        """Called in the middle of the loop's work: nothing of it goes on, and nobody is told of the processes' end."""
        children = [one for one in psutil.Process().children(recursive=True) if not _is_tracker(one)]
        for child in children:
            _signal(child.terminate)
        _, left = psutil.wait_procs(children, timeout=self.stop_seconds)
        for child in left:
            _signal(child.kill)
        os._exit(0)

    def in_hand(self) -> set[uuid.UUID]:
        """Flow runs that this worker is at, from when it takes them until their process has ended."""
        poller = getattr(self, "_scheduled_run_poller", None)
        return set(poller._submitting_flow_run_ids) if poller is not None else set()


def _is_tracker(process: psutil.Process) -> bool:
    """Python's own helper of processes, which hears no signal and ends when this process has."""
    try:
        return any("resource_tracker" in word for word in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _signal(send: Callable[[], None]) -> None:
    try:
        send()
    except psutil.NoSuchProcess:
        return


async def until_prefect_answers(what: str, ask: Callable[[], Awaitable[T]]) -> T:
    """Asks until it goes well; says once that it does not."""
    said = False
    while True:
        try:
            return await ask()
        except Exception as error:
            about = {"what": what, "reason": repr(error)}
            log.log(logging.DEBUG if said else logging.WARNING, "Prefect does not answer", extra=about)
            said = True
            await asyncio.sleep(RETRY_SECONDS)


async def deploy(runner: Runner, table: Collection[Deployment]) -> dict[str, uuid.UUID]:
    """Writes the table and removes what is no row of it any more. Returns the deployments' ids, by name."""
    written = {}
    for one in table:
        written[one.name] = await until_prefect_answers(one.name, lambda one=one: _deployed(runner, one))  # type: ignore[misc]
    await until_prefect_answers("old deployments", lambda: _remove_gone(table))
    return written


async def _deployed(runner: Runner, wanted: Deployment) -> uuid.UUID:
    async with get_client() as client:
        known, paused = await _known(client, wanted.full_name)
    schedules = _schedules(wanted, known)
    return await runner.aadd_flow(
        flow_of(wanted.entrypoint),
        name=wanted.name,
        schedules=schedules,
        paused=paused,
        concurrency_limit=ConcurrencyLimitConfig(
            limit=wanted.at_once, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
        ),
        description=wanted.description,
        tags=wanted.all_tags,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def _schedules(wanted: Deployment, known: Collection[KnownSchedule]) -> list[Schedule]:
    """None for a cron that Prefect cannot read, which is logged: the others are served all the same."""
    if not wanted.cron:
        return []
    active = not stays_paused(wanted, known)
    try:
        return [Cron(wanted.cron, timezone=wanted.time_zone, active=active, parameters=dict(wanted.parameters))]
    except ValueError as error:
        log.error("this is no cron", extra={"setting": wanted.variable, "value": wanted.cron, "reason": str(error)})
        return []


async def _known(client: PrefectClient, full_name: str) -> tuple[list[KnownSchedule], bool]:
    """The deployment's schedules as Prefect has them, and whether somebody paused it."""
    try:
        found = await client.read_deployment_by_name(full_name)
    except ObjectNotFound:
        return [], False
    schedules = [
        KnownSchedule(getattr(one.schedule, "cron", None), getattr(one.schedule, "timezone", None), one.active)
        for one in found.schedules
    ]
    return schedules, found.paused


async def _remove_gone(table: Collection[Deployment]) -> None:
    asked = {"deployments": {"tags": {"all_": [SERVED_TAG]}}, "limit": PAGE}
    async with get_client() as client:
        found = (await client.request("POST", "/deployments/filter", json=asked)).json()
        flow_names: dict[str, str] = {}
        for one in found:
            flow_names[one["flow_id"]] = (await client.read_flow(uuid.UUID(one["flow_id"]))).name
        known = {f"{flow_names[one['flow_id']]}/{one['name']}": one["id"] for one in found}
        for name in gone(table, known):
            log.info("removing a deployment that is none of ours any more", extra={"deployment": name})
            await client.delete_deployment(uuid.UUID(known[name]))


def flow_of(entrypoint: str) -> Flow[..., Any]:
    """The flow that `module:function` names."""
    module, _, name = entrypoint.partition(":")
    found: Flow[..., Any] = getattr(importlib.import_module(module), name)
    return found


async def take_over(runner: BatchRunner, deployment_ids: Mapping[str, uuid.UUID], *, settled: set[str]) -> set[str]:
    """Flow runs under way that no process of this worker is at, of an earlier worker or of a process that ended without
    a word: begun again, or cancelled where that was asked. settled: ids of the states that were seen like this before;
    others are left until the next look. Returns those that were seen now.
    """
    seen: set[str] = set()
    async with get_client() as client:
        asked = {"flow_runs": _under_way(deployment_ids), "limit": PAGE}
        left = (await client.request("POST", "/flow_runs/filter", json=asked)).json()
        for flow_run in left:
            if uuid.UUID(flow_run["id"]) in runner.in_hand():
                continue
            seen.add(flow_run["state_id"])
            if flow_run["state_id"] in settled:
                await begin_again(client, uuid.UUID(flow_run["id"]), flow_run["state_type"])
    return seen


async def begin_again(client: PrefectClient, flow_run_id: uuid.UUID, state_type: str) -> None:
    if state_type == "CANCELLING":
        state: Any = Cancelled(message="It was cancelled while no worker was at it.")
    else:
        state = Scheduled(message="The worker that was at it ended; another goes on with it.")
        log.warning("going on with a batch that an earlier worker left", extra={"flow_run": str(flow_run_id)})
    await client.set_flow_run_state(flow_run_id, state, force=True)


async def take_over_all(deployment_ids: Mapping[str, uuid.UUID]) -> None:
    """At a worker's start, when nothing can be under way any more: all of them, at once."""
    asked = {"flow_runs": _under_way(deployment_ids), "limit": PAGE}
    known: set[str] = set()
    async with get_client() as client:
        while True:
            left = (await client.request("POST", "/flow_runs/filter", json=asked)).json()
            new = [one for one in left if one["id"] not in known]  # one whose state cannot be set is left as it is
            for flow_run in new:
                known.add(flow_run["id"])
                await begin_again(client, uuid.UUID(flow_run["id"]), flow_run["state_type"])
            if not new:
                return


async def skip_late(table: Collection[Deployment], deployment_ids: Mapping[str, uuid.UUID], late_seconds: float) -> int:
    """Cancels what the clock should have begun while no worker was there, unless it is to be caught up. Returns how
    many.
    """
    skipped = {str(deployment_ids[one.name]) for one in table if not one.catches_up}
    before = datetime.now(UTC) - timedelta(seconds=late_seconds)
    asked = {
        "flow_runs": {
            "deployment_id": {"any_": sorted(skipped)},
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "expected_start_time": {"before_": before.isoformat()},
        },
        "limit": PAGE,
    }
    state: Any = Cancelled(message="It was due while no worker was there.")
    async with get_client() as client:
        found = (await client.request("POST", "/flow_runs/filter", json=asked)).json()
        late = [one for one in found if one["auto_scheduled"]]
        for flow_run in late:
            await client.set_flow_run_state(uuid.UUID(flow_run["id"]), state, force=True)
    if late:
        log.info("not doing what was due while no worker was there", extra={"count": len(late)})
    return len(late)


def _under_way(deployment_ids: Mapping[str, uuid.UUID]) -> dict[str, Any]:
    return {
        "deployment_id": {"any_": [str(one) for one in deployment_ids.values()]},
        "state": {"type": {"any_": OPEN_STATES}},
    }


async def keep_taking_over(runner: BatchRunner, deployment_ids: Mapping[str, uuid.UUID]) -> None:
    settled: set[str] = set()
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            settled = await take_over(runner, deployment_ids, settled=settled)
        except Exception as error:
            log.info("Prefect does not answer", extra={"reason": repr(error)})
