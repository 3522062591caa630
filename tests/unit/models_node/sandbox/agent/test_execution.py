"""One execution's lines: bounded in bytes, cut once, ended once."""

from __future__ import annotations

import json
from typing import Any

from models_node.sandbox.inside.agent.execution import Execution


def lines(execution: Execution) -> list[dict[str, Any]]:
    found = []
    while not execution.lines.empty():
        found.append(json.loads(execution.lines.get_nowait()))
    return found


async def test_output_is_cut_at_its_bound_with_one_notice() -> None:
    execution = Execution("", {}, 10)
    for _ in range(5):
        execution.text("stdout", "ñañ")
    told = lines(execution)
    assert "".join(event["text"] for event in told if event["type"] == "stdout") == "ñañ" * 2
    assert [event["text"] for event in told if event["type"] == "stderr"] == ["[output cut: more than 10 bytes]\n"]
    assert execution.overflow.is_set()


async def test_a_result_that_is_too_large_is_output_beyond_the_bound() -> None:
    execution = Execution("", {}, 100)
    execution.result({"text": "x" * 100}, is_main_result=True)
    assert [event["type"] for event in lines(execution)] == ["stderr"]


async def test_a_kernel_cannot_smuggle_fields_into_a_result() -> None:
    execution = Execution("", {}, 1000)
    execution.result({"text": "x", "type": "error", "other": 1}, is_main_result=False)
    assert lines(execution) == [{"type": "result", "is_main_result": False, "text": "x"}]


async def test_after_a_verdict_the_kernels_error_is_no_news() -> None:
    execution = Execution("", {}, 1000)
    execution.verdict("TimeoutError", "too long")
    execution.error("KeyboardInterrupt", "", "")
    execution.finish()
    execution.finish()
    assert [event["type"] for event in lines(execution)] == ["error", "end_of_execution"]
