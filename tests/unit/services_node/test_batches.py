"""Cancelling a batch, with rows and a Prefect that are faked."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from flows.errors import prefect_unavailable
from services_node.chat_api.batches import cancel_batch
from wire.errors import Conflict, Unavailable
from wire.ids import uuid7


class Stack:
    """What `cancel_batch` asks of the parts: one run, and a Prefect that may be away."""

    def __init__(self, status: str = "running") -> None:
        self.run = SimpleNamespace(status=status, prefect_flow_run_id=uuid7())
        self.prefect_is_away = False
        self.followed = False  # Prefect's cancellation is noted before ours
        self.asked = 0
        self.runs = self.batches = self.flows = self

    async def get(self, run_id: uuid.UUID, owner: str) -> Any:
        return self.run

    async def close(self, run_id: uuid.UUID, status: str, **_: Any) -> bool:
        was_open = self.run.status == "running"
        if was_open:
            self.run.status = status
        return was_open

    async def ask(self, question: Any, seconds: float) -> None:
        if self.prefect_is_away:
            raise prefect_unavailable()
        self.asked += 1
        if self.followed:
            self.run.status, self.run.reason = "cancelled", "cancelled_in_prefect"

    async def cancelled_by_client(self, run_id: uuid.UUID) -> None:
        self.run.reason = "cancelled_by_client"


async def test_a_batch_that_could_not_be_cancelled_while_prefect_was_away_can_be_cancelled_later() -> None:
    stack: Any = Stack()
    stack.prefect_is_away = True
    with pytest.raises(Unavailable):
        await cancel_batch(stack, uuid7())
    assert stack.run.status == "running"
    stack.prefect_is_away = False
    await cancel_batch(stack, uuid7())
    assert stack.run.status == "cancelled" and stack.asked == 1
    with pytest.raises(Conflict):
        await cancel_batch(stack, uuid7())


async def test_a_cancellation_that_prefect_told_first_is_no_conflict() -> None:
    stack: Any = Stack()
    stack.followed = True
    await cancel_batch(stack, uuid7())
    assert (stack.run.status, stack.run.reason) == ("cancelled", "cancelled_by_client")


async def test_a_batch_that_ended_is_not_asked_of_prefect() -> None:
    stack: Any = Stack("completed")
    with pytest.raises(Conflict):
        await cancel_batch(stack, uuid7())
    assert stack.asked == 0
