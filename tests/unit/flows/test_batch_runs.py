"""How a batch's process begins and ends, with its rows faked and without Prefect."""

from __future__ import annotations

import asyncio
import os
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from db.batches import Begun
from db.errors import DatabaseUnavailable
from flows import batch_runs
from flows.batch_runs import perform, persistently, scheduled_run
from flows.shown import advice, failure_told
from stack.settings import Settings
from wire.errors import NotFound, Unavailable
from wire.ids import uuid7

BEGUN = Begun(uuid7(), "ana", "a" * 32, uuid7())


class Ended(BaseException):
    """Stands for the process's end."""


class Batch:
    def __init__(self, begun: Begun | None, status: str | None = None) -> None:
        self.rows = SimpleNamespace(begin=self.begin, status=self.status, cancelled=self.cancelled)
        self.settings = Settings()
        self.begun, self._status = begun, status
        self.closed = 0
        self.said: list[Any] = []

    async def begin(self, *_: object) -> Begun | None:
        return self.begun

    async def status(self, _: uuid.UUID) -> str | None:
        return self._status

    async def cancelled(self, *which: object) -> None:
        self.said.append(which)

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(_: int) -> None:
        raise Ended

    monkeypatch.setattr(batch_runs, "load_secrets", lambda _: None)
    monkeypatch.setattr(batch_runs, "end_with_parent", lambda: None)
    monkeypatch.setattr(os, "_exit", end)


async def performed(batch: Batch, run: Any = None) -> Any:
    made: Any = lambda *_: batch  # noqa: E731
    return await perform("chat-batch", made, str(BEGUN.id), run)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("completed", "COMPLETED"),
        ("failed", "FAILED"),
        ("crashed", "FAILED"),
        ("cancelled", "CANCELLED"),
        (None, "CANCELLED"),
    ],
)
async def test_a_flow_run_whose_run_has_ended_says_how(status: str | None, state: str) -> None:
    batch = Batch(None, status)
    assert (await performed(batch)).type.value == state and batch.closed == 1


@pytest.mark.parametrize("intent", ["cancel", None])
async def test_a_process_that_is_ended_closes_its_run_only_where_it_was_cancelled(
    intent: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_runs, "get_intent", lambda: intent)
    batch, under_way = Batch(BEGUN), asyncio.Event()

    async def run(*_: object) -> None:
        under_way.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(performed(batch, run))
    await under_way.wait()
    task.cancel()
    (ended,) = await asyncio.gather(task, return_exceptions=True)
    if intent:
        assert isinstance(ended, asyncio.CancelledError) and [which[0] for which in batch.said] == [BEGUN.id]
    else:
        assert isinstance(ended, Ended) and not batch.said and batch.closed


async def test_a_database_that_is_away_is_waited_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_runs, "RETRY_SECONDS", 0)
    away = [DatabaseUnavailable(), DatabaseUnavailable()]

    async def effect() -> str:
        if away:
            raise away.pop()
        return "there"

    assert await persistently(effect, 30) == "there"
    away.append(DatabaseUnavailable())
    with pytest.raises(DatabaseUnavailable):
        await persistently(effect, -1)


def test_what_nobody_asked_for_belongs_to_the_machines_user_or_the_operators() -> None:
    flow_run_id = uuid7()
    local = scheduled_run("digest", Settings(), flow_run_id)
    assert (local.owner, local.flow_run_id) == ("local", flow_run_id)
    assert scheduled_run("digest", Settings(profile="production"), flow_run_id).owner == "operator"


def test_a_failure_is_told_with_what_can_be_done() -> None:
    told = failure_told("digest", BEGUN.id, Unavailable("a *part*\nis away", code="away"), "http://chat")
    assert "**away**: a \\*part\\* is away" in told and f"http://chat/api/runs/{BEGUN.id}" in told
    assert advice(Unavailable("")) in told and advice(NotFound("")) != advice(Unavailable(""))
