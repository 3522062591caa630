"""The Prefect flows `chat` and `code`: each wraps a run under way, runs its steps as tasks, ends as it ended."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Crashed, Failed

from flows.link import FlowLink, Outcome, StepJob

link_of_flow: ContextVar[FlowLink] = ContextVar("capibara6_flow_link")


@flow(name="chat", persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def chat(run_id: str, conversation_id: str) -> State[None]:
    """A chat turn. The parameters are for people who look at the run; the turn itself is in `link_of_flow`."""
    return await _attend()


@flow(name="code", persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def code(run_id: str, conversation_id: str) -> State[None]:
    """A piece of code that runs in a sandbox. As `chat`."""
    return await _attend()


@flow(name="summary", persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def summary(run_id: str, conversation_id: str) -> State[None]:
    """A conversation's older part, summarised. As `chat`."""
    return await _attend()


@flow(name="speech", persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def speech(run_id: str, conversation_id: str) -> State[None]:
    """A text that is spoken. As `chat`."""
    return await _attend()


@flow(name="workflow", persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def workflow(run_id: str, conversation_id: str) -> State[None]:
    """A workflow of n8n, begun by its webhook. As `chat`."""
    return await _attend()


FLOWS = {flow.name: flow for flow in (chat, code, summary, speech, workflow)}  # by the kind of the run


async def _attend() -> State[None]:
    link = link_of_flow.get()
    under_way: set[asyncio.Task[None]] = set()
    async for job in link.attend():
        step = asyncio.create_task(_run_step(job))
        under_way.add(step)
        step.add_done_callback(under_way.discard)
    if under_way:
        await asyncio.wait(under_way)
    return state_of(await link.outcome())


def state_of(outcome: Outcome, note: str = "") -> State[None]:
    """The Prefect state that says the same. note: put after the message."""
    message = f"{outcome.message} {note}".strip()
    match outcome.status:
        case "completed":
            return Completed(message=message, name=outcome.name) if outcome.name else Completed(message=message)
        case "cancelled":
            return Cancelled(message=message)
        case "crashed":
            return Crashed(message=message)
        case _:
            return Failed(message=message)


async def _run_step(job: StepJob[Any]) -> None:
    @task(
        name=job.name,
        persist_result=False,
        cache_policy=NO_CACHE,
        retries=job.retries.most,
        retry_delay_seconds=job.retries.delay_seconds,
        retry_condition_fn=lambda _task, _run, _state: job.again(),
    )
    async def step() -> None:
        await job.on_flow_loop()

    try:
        await step()
    except Exception:  # the turn gets the effect's own error; what Prefect itself couldn't do, the turn does
        job.give_up()
