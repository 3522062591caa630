"""The chat API's life, with its parts faked."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from db.errors import DatabaseUnavailable
from services_node.chat_api.app import sweep
from services_node.chat_api.parts import Parts


async def test_a_sweep_that_fails_is_tried_again_and_flow_runs_begin_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services_node.chat_api.app.SWEEP_RETRY_SECONDS", 0.0)
    outcomes: list[Any] = [DatabaseUnavailable(), RuntimeError("no such table"), [1]]
    started: list[int] = []

    async def close_abandoned(stack_id: str, instance_id: str) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    runs, flows = SimpleNamespace(close_abandoned=close_abandoned), SimpleNamespace(start=lambda: started.append(1))
    async with asyncio.timeout(5):
        await sweep(cast(Parts, SimpleNamespace(runs=runs, flows=flows, stack_id="s", instance_id="i")))
    assert started == [1] and not outcomes
