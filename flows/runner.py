"""The thread that runs turns' flows beside the API: its own event loop, one shared Prefect client.

Prefect's engine costs tens of milliseconds of CPU a run and waits on its server; none of that may touch the loop that
streams tokens. In a thread that isn't the main one, Prefect also can't take the process's signal handlers, which would
keep SIGTERM from the server. While Prefect is away, turns go on, nothing is tried for each of them, and what it missed
is recorded when it is back.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from db.batches import Batches, Begun
from db.records import RunRecord, RunStatus
from flows.errors import prefect_unavailable
from flows.link import FlowLink
from wire.errors import ApiError

if TYPE_CHECKING:  # Prefect takes seconds to import: in the thread, not while the API starts
    from prefect.client.schemas.objects import FlowRun

    from flows.prefect_api import PrefectApi

log = logging.getLogger("flows.runner")

STARTS_AT_ONCE = 4  # flow runs being set up at the same time: the rest waits, so that the API keeps its CPU
RECONCILE_SECONDS = 30.0

T = TypeVar("T")
PrefectState = Literal["starting", "up", "down"]


class RunRows(Protocol):
    """What the runner asks of our tables (`db.runs.Runs`), on the API's loop."""

    async def link_flow(self, run_id: uuid.UUID, flow_run_id: uuid.UUID, *, recorded: bool) -> None: ...

    async def unrecorded(self, stack_id: str, since: datetime, limit: int) -> list[RunRecord]: ...


@dataclass(frozen=True, slots=True)
class RunnerConfig:
    """environment: Prefect's settings. watch_seconds, probe_seconds: how often cancellations and a lost server are
    looked for.
    """

    environment: Mapping[str, str]
    stack_id: str
    instance_id: uuid.UUID
    watch_seconds: float
    probe_seconds: float


class FlowRunner:
    """`start` and `stop` it with the API; `attach` a turn's link once tokens flow."""

    def __init__(self, config: RunnerConfig, rows: RunRows, batches: Batches | None = None) -> None:
        self._config = config
        self._rows = rows
        self._batches = batches
        self._api: PrefectApi | None = None  # of the flow thread's loop
        self._home: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._early: list[FlowLink | None] = []
        self._inbox: asyncio.Queue[FlowLink | None] = asyncio.Queue()  # of the flow thread's loop
        # Of the flow thread's loop:
        self._active: dict[uuid.UUID, FlowLink] = {}
        self.state: PrefectState = "starting"

    # called on the API's loop

    def start(self) -> None:
        self._home = asyncio.get_running_loop()
        os.environ.update(self._config.environment)
        self._thread = threading.Thread(target=self._thread_main, name="flows", daemon=True)
        self._thread.start()

    def attach(self, link: FlowLink) -> None:
        """Begins the turn's flow run, if Prefect is there. Returns at once."""
        self._post(link)

    async def ask(self, question: Callable[[PrefectApi], Coroutine[Any, Any, T]], seconds: float) -> T:
        """Prefect's answer, asked on the flow thread's loop. Raises Unavailable when Prefect is away."""
        api, loop = self._api, self._loop
        if api is None or loop is None or loop.is_closed() or self.state != "up":
            raise prefect_unavailable()
        asked = asyncio.run_coroutine_threadsafe(question(api), loop)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(asked)
        except ApiError:
            raise
        except Exception as error:
            log.warning("Prefect could not be asked", extra={"reason": repr(error)})
            raise prefect_unavailable() from error

    async def stop(self, seconds: float) -> None:
        """Waits, at most that long, until the flow runs of ended turns are closed in Prefect."""
        thread = self._thread
        if thread is None:
            return
        self._post(None)
        await asyncio.to_thread(thread.join, seconds)
        if thread.is_alive():
            log.warning("flow runs were left open at the stop; the next start closes them")

    def _post(self, link: FlowLink | None) -> None:
        with self._lock:
            if self._loop is None:
                self._early.append(link)  # Prefect is still being imported
            elif not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._inbox.put_nowait, link)

    # the flow thread

    def _thread_main(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception:
            log.exception("the flow thread ended; turns go on without flow runs")
        finally:
            self.state = "down"

    async def _main(self) -> None:
        from prefect.context import AsyncClientContext
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        from flows.prefect_api import Origin, PrefectApi

        gc.freeze()  # what was just imported lives as long as the process: no collection needs to walk it again
        # A heartbeat is a thread for each run and events over a websocket; a turn lasts seconds and is swept at boot.
        # (The environment can't say None.)
        no_heartbeat = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
        with no_heartbeat:
            async with AsyncClientContext() as shared:
                await self._serve(PrefectApi(shared.client, Origin(self._config.stack_id, self._config.instance_id)))

    async def _serve(self, api: PrefectApi) -> None:
        """Runs flows as they come, until told to stop; then waits for those under way."""
        with self._lock:
            self._loop, self._api = asyncio.get_running_loop(), api
            for link in self._early:
                self._inbox.put_nowait(link)
        background = [asyncio.create_task(self._keep_in_step(api)), asyncio.create_task(self._watch(api))]
        flows: set[asyncio.Task[None]] = set()
        starts = asyncio.Semaphore(STARTS_AT_ONCE)
        while (begun := await self._inbox.get()) is not None:
            flow = asyncio.create_task(self._run(api, begun, starts))
            flows.add(flow)
            flow.add_done_callback(flows.discard)
        if flows:
            await asyncio.wait(flows)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)

    async def _run(self, api: PrefectApi, link: FlowLink, starts: asyncio.Semaphore) -> None:
        """One turn's flow run, from creation to its end."""
        if self.state == "down":
            return
        self._active[link.run_id] = link
        try:
            async with starts:
                flow_run = await api.create_run(link.kind, link.run_id, link.conversation_id, labels=link.labels)
            link.flow_run_id = flow_run.id
            await self._at_home(self._rows.link_flow(link.run_id, flow_run.id, recorded=False))
            await self._execute(api, link, flow_run)
            await self._at_home(self._rows.link_flow(link.run_id, flow_run.id, recorded=True))
        except Exception as error:  # whatever it is, the turn goes on; the reconciler records it
            self._note(error)
        finally:
            self._active.pop(link.run_id, None)

    async def _execute(self, api: PrefectApi, link: FlowLink, flow_run: FlowRun) -> None:
        from prefect.exceptions import Abort
        from prefect.flow_engine import run_flow_async

        from flows.flow_runs import FLOWS, link_of_flow, state_of

        link_of_flow.set(link)  # of this task only
        parameters = {"run_id": str(link.run_id), "conversation_id": str(link.conversation_id)}
        shown = None
        try:
            shown = await run_flow_async(FLOWS[link.kind], flow_run, parameters, return_type="state")
        except Abort as refused:  # cancelled in Prefect before it stood
            log.info("Prefect refused a flow run's state", extra={"reason": str(refused)})
            link.home.call_soon_threadsafe(link.cancel)
        outcome = await link.outcome()
        true_state = state_of(outcome)
        if getattr(shown, "type", None) != true_state.type:
            await api.force_state(flow_run.id, true_state)

    async def _watch(self, api: PrefectApi) -> None:
        """Passes on cancellations made in Prefect, for all active turns with one request."""
        while True:
            await asyncio.sleep(self._config.watch_seconds)
            watched = {
                link.flow_run_id: link
                for link in self._active.values()
                if link.flow_run_id is not None and not link.ended.done()
            }
            if not watched or self.state != "up":
                continue
            try:
                cancelled = await api.cancelled_among(watched)
            except Exception as error:
                self._note(error)
                continue
            for flow_run_id in cancelled:
                link = watched[flow_run_id]
                link.home.call_soon_threadsafe(link.cancel)

    async def _keep_in_step(self, api: PrefectApi) -> None:
        """Finds Prefect again when it is away; then, and every half minute, records what it missed."""
        from flows.reconcile import follow_batches, record_missed, sweep

        swept = False
        while True:
            if self.state != "up":
                if not await api.answers():
                    if self.state == "starting":
                        log.warning("Prefect does not answer; turns go on without it")
                    self.state = "down"
                    await asyncio.sleep(self._config.probe_seconds)
                    continue
                if self.state == "down":
                    log.info("Prefect answers again")
                self.state = "up"
            try:
                if not swept:
                    await sweep(api)
                    swept = True
                await record_missed(api, _RowsFromThread(self), lambda run_id: run_id in self._active)
                await follow_batches(api, _RowsFromThread(self))
            except Exception as error:
                self._note(error)
            for _ in range(max(1, round(RECONCILE_SECONDS / self._config.probe_seconds))):
                await asyncio.sleep(self._config.probe_seconds)
                if self._is_away():
                    break

    def _is_away(self) -> bool:
        return self.state == "down"

    def _note(self, error: Exception) -> None:
        """Logs an outage once; anything else each time."""
        from flows.prefect_api import is_outage

        if not is_outage(error):
            log.warning("a flow run failed", exc_info=error)
        elif self.state != "down":
            self.state = "down"
            log.warning("Prefect is away; turns go on without it", extra={"reason": repr(error)})

    async def _at_home(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the API's loop, where the database's connections are."""
        assert self._home is not None  # noqa: S101 - `start` set it before the thread
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._home))


@dataclass(frozen=True, slots=True)
class _RowsFromThread:
    """`flows.reconcile.RunStore` and `BatchStore` over the API's loop."""

    runner: FlowRunner

    async def unrecorded(self, since: datetime, limit: int) -> list[RunRecord]:
        runner = self.runner
        return await runner._at_home(runner._rows.unrecorded(runner._config.stack_id, since, limit))

    async def link_flow(self, run_id: uuid.UUID, flow_run_id: uuid.UUID, *, recorded: bool) -> None:
        await self.runner._at_home(self.runner._rows.link_flow(run_id, flow_run_id, recorded=recorded))

    async def unrecorded_batches(self, limit: int) -> list[Begun]:
        batches = self.runner._batches
        if batches is None:
            return []
        return await self.runner._at_home(batches.unrecorded(self.runner._config.stack_id, limit))

    async def close_batch(self, run_id: uuid.UUID, status: RunStatus, code: str | None, detail: str | None) -> None:
        if self.runner._batches is not None:
            await self.runner._at_home(self.runner._batches.close(run_id, status, code=code, detail=detail))
