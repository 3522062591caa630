"""The link between a turn's loop and its flow's loop, on two real threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from datetime import UTC, datetime

import pytest

from flows.link import FlowLink, Outcome, StepCancelled, StepJob
from flows.steps import FlowSteps
from wire.errors import UpstreamFailed

DONE = Outcome("completed", "well", datetime.now(UTC))


def link() -> FlowLink:
    return FlowLink("chat", uuid.uuid4(), uuid.uuid4(), lambda: None, asyncio.get_running_loop())


class FlowThread:
    """Stands for the flow: runs what it is given, or refuses it."""

    def __init__(self, of: FlowLink, *, refuses: bool = False) -> None:
        self.link, self.refuses = of, refuses
        self.ran: list[str] = []
        self.standing = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._attend()))
        self.thread.start()

    async def _attend(self) -> None:
        asyncio.get_running_loop().call_later(0.01, self.standing.set)
        async for job in self.link.attend():
            if self.refuses:
                job.give_up()
            else:
                await self._run(job)

    async def _run(self, job: StepJob[object]) -> None:
        self.ran.append(job.name)
        with contextlib.suppress(UpstreamFailed, StepCancelled):
            await job.on_flow_loop()

    async def end(self) -> None:
        self.link.end(DONE)
        await asyncio.to_thread(self.thread.join, 5)
        assert not self.thread.is_alive()


async def where() -> str:
    return threading.current_thread().name


async def test_without_a_flow_run_the_step_is_taken_here() -> None:
    assert await FlowSteps(link()).run("tool", where, timeout_seconds=5) == "MainThread"


async def test_with_one_it_goes_through_the_flow_and_the_effect_still_runs_at_home() -> None:
    one = link()
    flow = FlowThread(one)
    await asyncio.to_thread(flow.standing.wait, 5)
    assert await FlowSteps(one).run("tool", where, timeout_seconds=5) == "MainThread"
    assert flow.ran == ["tool"]
    await flow.end()


async def test_an_effects_error_comes_back_as_it_is() -> None:
    async def fails() -> None:
        raise UpstreamFailed("no", code="tool_failed")

    one = link()
    flow = FlowThread(one)
    await asyncio.to_thread(flow.standing.wait, 5)
    with pytest.raises(UpstreamFailed) as error:
        await FlowSteps(one).run("tool", fails, timeout_seconds=5)
    assert error.value.code == "tool_failed"
    await flow.end()


async def test_what_the_flow_cannot_run_is_done_here_once() -> None:
    done: list[int] = []

    async def effect() -> int:
        done.append(1)
        return len(done)

    one = link()
    flow = FlowThread(one, refuses=True)
    await asyncio.to_thread(flow.standing.wait, 5)
    assert await FlowSteps(one).run("tool", effect, timeout_seconds=5) == 1 and done == [1]
    await flow.end()


async def test_cancelling_the_turn_cancels_the_effect() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def effect() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    one = link()
    flow = FlowThread(one)
    await asyncio.to_thread(flow.standing.wait, 5)
    step = asyncio.create_task(FlowSteps(one).run("tool", effect, timeout_seconds=60))
    async with asyncio.timeout(5):
        await started.wait()
        step.cancel()
        await ended.wait()
    with pytest.raises(asyncio.CancelledError):
        await step
    await flow.end()


async def test_a_step_after_the_flow_run_ended_is_taken_here() -> None:
    one = link()
    flow = FlowThread(one)
    await asyncio.to_thread(flow.standing.wait, 5)
    await flow.end()
    assert await FlowSteps(one).run("tool", where, timeout_seconds=5) == "MainThread"
