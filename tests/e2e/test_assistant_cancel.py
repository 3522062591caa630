"""One cancel on real parts: what an engine writes and what a sandbox runs ends with the turn that asked for it."""

from __future__ import annotations

import os
import time
from typing import Any

import httpx
import pytest
from e2b_code_interpreter import Sandbox

from tests.e2e.stack import Stack, eventually

# Whatever a model's code prints takes five minutes from now on in this sandbox, and leaves a file.
SLOW_PRINT = """
import builtins, pathlib, time
def slow(*words, **how):
    pathlib.Path('/home/user/printing').touch()
    time.sleep(300)
builtins.print = slow
"""


def in_flight(stack: Stack) -> int:
    return int(sum(engine["in_flight"] for engine in stack.get("model-server", "/stats")["engines"]))


def run_code(stack: Stack, conversation: str, code: str) -> dict[str, Any]:
    body = {"code": code, "conversation_id": conversation}
    told: dict[str, Any] = httpx.post(f"{stack.url('chat-api')}/api/code/run", json=body, timeout=120).json()
    return told


def test_a_client_that_leaves_stops_its_engine(stack: Stack) -> None:
    events = stack.events("Tell me a long story about a capybara.", max_tokens=1000, tools=False)
    run_id = next(event for event in events if event["type"] == "start")["run_id"]
    for _ in range(3):
        assert next(events)["type"] == "token"
    assert in_flight(stack) == 1
    events.close()  # type: ignore[attr-defined]
    eventually(lambda: in_flight(stack) == 0, 10, "the engine is idle")
    story = eventually(lambda: (found := stack.run_story(run_id))["status"] != "running" and found, 10, "it has ended")
    assert (story["status"], story["error"]["code"]) == ("cancelled", "client_disconnected")
    kept = stack.get("chat-api", f"/api/conversations/{story['conversation_id']}")["messages"]
    assert kept[-1]["role"] == "assistant" and kept[-1]["content"] and not kept[-1]["complete"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make users and cgroups for sandboxes")
def test_a_turn_that_is_cancelled_interrupts_its_code_in_the_sandbox(stack: Stack) -> None:
    conversation = str(next(stack.events("Hi", max_tokens=2, tools=False))["conversation_id"])
    eventually(lambda: in_flight(stack) == 0, 30, "that turn has ended")
    sandbox_id = run_code(stack, conversation, SLOW_PRINT)["sandbox_id"]
    url = stack.env()["CAPIBARA6_SANDBOX_URL"]
    sandbox = Sandbox.connect(sandbox_id, api_key="local", api_url=url, sandbox_url=url)

    asked = stack.events("Ejecuta código Python que cuente las letras de 'capibara'", conversation_id=conversation)
    run_id = next(event for event in asked if event["type"] == "start")["run_id"]
    assert next(event for event in asked if event["type"] == "tool_call")["name"] == "run_python"
    eventually(lambda: sandbox.files.exists("printing"), 30, "the model's code runs")
    story = httpx.post(f"{stack.url('chat-api')}/api/runs/{run_id}/cancel", timeout=30).json()
    assert (story["status"], story["error"]["code"]) == ("cancelled", "cancelled_by_client")
    assert list(asked)[-1]["error"]["code"] == "cancelled_by_client"
    assert {step["name"]: step["status"] for step in story["steps"]}["run_code"] == "cancelled"
    assert in_flight(stack) == 0

    began = time.monotonic()
    later = run_code(stack, conversation, "6 * 7")
    assert later["results"][0]["text"] == "42" and later["sandbox_id"] == sandbox_id and later["notice"] is None
    assert time.monotonic() - began < 60  # it does not wait for the five minutes
    (call,) = stack.get("chat-api", f"/api/conversations/{conversation}")["messages"][-1]["tool_calls"]
    assert (call["name"], call["status"]) == ("run_python", "cancelled")
