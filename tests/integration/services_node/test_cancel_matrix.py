"""One cancel: whatever a run is at and whoever ends it, nothing of it keeps running."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from assistant_stack import NEIGHBOURS, SECONDS, Asked, Assistant
from installation import eventually

LONG = "tokens=4000 every=0.02"


@dataclass(frozen=True)
class Phase:
    """What a turn is at. message: brings a turn there. reached: whether one is there; told: pieces sent before it.
    said: whether its answer had begun."""

    message: str
    reached: Callable[[Assistant, int], bool]
    more: dict[str, Any] = field(default_factory=dict)
    said: bool = False
    tool: str | None = None


def calling(tool: str, **arguments: Any) -> str:
    return f"calls={json.dumps([{'name': tool, 'arguments': arguments}])}"


CODE = "print('begun'); wait(60)"
PHASES = {
    "it waits for the model": Phase("hola wait=60", lambda on, _: on.models()["waiting"] == 1),
    "before the first token": Phase("hola first=60", lambda on, _: on.models()["open"] == 1),
    "tokens flow": Phase(f"hola {LONG}", lambda on, told: on.models()["pieces"] > told + 2, said=True),
    "a small model writes its call": Phase(
        f"una espera larga every=0.05 {calling('wait_long', name='w' * 1000)}",
        lambda on, told: on.models()["pieces"] > told + 2,
        {"model": "guided"},
    ),
    "a tool runs": Phase(
        f"una espera larga tokens=2 {calling('wait_long', name='turn')}",
        lambda on, _: on.tools()["waiting"] == ["turn"],
        said=True,
        tool="wait_long",
    ),
    "a tool of a small model runs": Phase(
        f"una espera larga {calling('wait_long', name='turn')}",
        lambda on, _: on.tools()["waiting"] == ["turn"],
        {"model": "guided"},
        tool="wait_long",
    ),
    "a sandbox is made": Phase(
        f"ejecuta este código python: print(1) {calling('run_python', code=CODE)} tokens=1",
        lambda on, _: on.sandboxes()["creating"] == 1,
        said=True,
        tool="run_python",
    ),
    "code runs": Phase(
        f"ejecuta este código python: print(1) {calling('run_python', code=CODE)} tokens=1",
        lambda on, _: on.sandboxes()["running"] == 1,
        said=True,
        tool="run_python",
    ),
    "a page is fetched": Phase(
        f"lee la página http://127.0.0.1:SITE/page tokens=1 {calling('fetch_url', url='http://127.0.0.1:SITE/page')}",
        lambda on, _: on.site.open == 1,
        said=True,
        tool="fetch_url",
    ),
    "another server's tool runs": Phase(
        f"neighbour wait long tokens=1 {calling(NEIGHBOURS, name='turn')}",
        lambda on, _: on.neighbour.waiting() == ["turn"],
        said=True,
        tool=NEIGHBOURS,
    ),
    "the answer after a tool": Phase(
        f"un eco exacto tokens=1 {calling('echo', words=LONG)}",
        lambda on, told: on.models()["pieces"] > told + 4,
        said=True,
    ),
}
PATHS: dict[str, tuple[str, Callable[[str, dict[str, Any]], dict[str, Any]]]] = {
    "chat": ("/api/chat", lambda said, more: {"message": said, **more}),
    "chat, streamed": ("/api/chat/stream", lambda said, more: {"message": said, **more}),
    "completions": ("/v1/chat/completions", lambda said, more: {**ASSISTANT, **spoken(said), **more}),
    "completions, streamed": (
        "/v1/chat/completions",
        lambda said, more: {**ASSISTANT, **spoken(said), "stream": True, **more},
    ),
    "responses": ("/v1/responses", lambda said, more: {**ASSISTANT, "input": said, **more}),
    "responses, streamed": ("/v1/responses", lambda said, more: {**ASSISTANT, "input": said, "stream": True, **more}),
}
ASSISTANT = {"model": "capibara6"}


def spoken(said: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": said}]}


def ask(on: Assistant, path: str, phase: Phase) -> Asked:
    where, body = PATHS[path]
    return on.ask(where, body(phase.message.replace("SITE", str(on.site.port)), phase.more))


def leaves(on: Assistant, asked: Asked) -> str:
    asked.leave()
    return "client_disconnected"


def is_cancelled(on: Assistant, asked: Asked) -> str:
    story = on.api.post(f"/api/runs/{asked.run_id}/cancel").json()
    assert story["status"] == "cancelled", story
    assert "cancelled_by_client" in asked.answer()
    return "cancelled_by_client"


WAYS = {"its client leaves": leaves, "it is cancelled": is_cancelled}


def cells() -> list[Any]:
    """Every path in every phase; one of the two ways in turn, and the other in `test full`: the suite has its time."""
    return [
        pytest.param(path, phase, way, marks=() if (one + other + third) % 2 == 0 else pytest.mark.full)
        for one, path in enumerate(PATHS)
        for other, phase in enumerate(PHASES)
        for third, way in enumerate(WAYS)
    ]


@pytest.mark.parametrize(("path", "phase", "way"), cells())
def test_nothing_of_a_turn_keeps_running(assistant: Assistant, path: str, phase: str, way: str) -> None:
    at, told = PHASES[phase], assistant.models()["pieces"]
    with ExitStack() as around:
        if phase == "a sandbox is made":
            around.enter_context(assistant.slow_sandboxes(0.5))
        asked = ask(assistant, path, at)
        eventually(lambda: at.reached(assistant, told), SECONDS, phase)
        code = WAYS[way](assistant, asked)
        story = assistant.ended(asked.run_id)
        assert (story["status"], story["error"]["code"]) == ("cancelled", code)
        assistant.nothing_runs()
    kept_as_far_as_it_went(assistant, story, at)


def kept_as_far_as_it_went(assistant: Assistant, story: dict[str, Any], at: Phase) -> None:
    question, *answers = assistant.messages(story["conversation_id"])
    assert question["content"] == at.message.replace("SITE", str(assistant.site.port))
    if at.said:
        assert answers[0]["content"].startswith("t0 ") and not answers[0]["complete"]
    assert all(not answer["complete"] for answer in answers)
    if at.tool is not None:
        (call,) = answers[0]["tool_calls"]
        assert (call["name"], call["status"]) == (at.tool, "cancelled")
        assert [step["status"] for step in story["steps"] if step["name"] == at.tool] == ["cancelled"]


def test_a_server_that_stops_ends_every_turn_wherever_it_is(assistant: Assistant) -> None:
    told = assistant.models()["pieces"]
    asked = [ask(assistant, "chat, streamed", PHASES["code runs"])]
    eventually(lambda: assistant.sandboxes()["running"] == 1, SECONDS, "code runs")
    summary = summarising(assistant)
    with assistant.slow_sandboxes(3):
        asked += [ask(assistant, "chat, streamed", phase) for name, phase in PHASES.items() if name != "code runs"]
        asked += [ask(assistant, "chat", PHASES["tokens flow"])]
        busy = {
            "model streams": 6, "model calls that wait": 1, "sandboxes being made": 1, "code that runs": 1, "tools": 2,
            "pages being fetched": 1, "tools of another server": 1,
        }  # fmt: skip
        eventually(lambda: busy.items() <= assistant.under_way().items(), 2 * SECONDS, f"all of {busy}")
        assistant.stack.processes["chat-api"].send_signal(signal.SIGTERM)
        for one in asked:
            assert "server_stopping" in one.answer()
        assert assistant.stack.stop("chat-api", seconds=12) in {0, -signal.SIGTERM}
    assistant.nothing_runs()
    assistant.stack.start_chat()
    for run_id in [summary, *(one.run_id for one in asked)]:
        story = assistant.run(run_id)
        assert (story["status"], story["error"]["code"]) == ("cancelled", "server_stopping")
    assert assistant.models()["pieces"] > told
    assistant.nothing_runs()
    assistant.stack.wait_for_flows()


# A summary, which is made in the background


def summarising(on: Assistant) -> str:
    """The run of a summary that is being made."""
    old = [{"role": role, "content": f"{LONG} {'x' * 4000}"} for role in ("user", "assistant")] * 4
    told = on.models()["open"]
    question = {"role": "user", "content": "hola tokens=1"}
    reply = on.api.post("/api/chat", json={"messages": [*old, question], "tools": False}).json()
    eventually(lambda: on.models()["open"] == told + 1, SECONDS, "the summary is being written")
    runs = on.api.get("/api/runs").json()["runs"]
    return next(
        str(run["id"])
        for run in runs
        if run["kind"] == "summary" and run["conversation_id"] == reply["conversation_id"]
    )


def test_a_summary_in_the_background_is_cancelled_as_any_run(assistant: Assistant) -> None:
    run_id = summarising(assistant)
    story = assistant.api.post(f"/api/runs/{run_id}/cancel").json()
    assert (story["status"], story["error"]["code"]) == ("cancelled", "cancelled_by_client")
    assistant.nothing_runs()


def test_a_summary_ends_with_its_conversation(assistant: Assistant) -> None:
    run_id = summarising(assistant)
    conversation = assistant.run(run_id)["conversation_id"]
    assert assistant.api.delete(f"/api/conversations/{conversation}").status_code == 204
    assert assistant.ended(run_id)["status"] == "cancelled"
    assistant.nothing_runs()


# Code by itself


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("phase", ["a sandbox is made", "code runs"])
@pytest.mark.parametrize("kept", ["in a conversation", "in no conversation"])
@pytest.mark.parametrize("path", ["/api/code/run", "/api/code/run/stream"])
def test_nothing_of_a_run_of_code_keeps_running(
    assistant: Assistant, path: str, kept: str, phase: str, way: str
) -> None:
    body: dict[str, Any] = {"code": CODE}
    if kept == "in a conversation":
        body["conversation_id"] = assistant.api.post("/api/chat", json={"message": "hola"}).json()["conversation_id"]
    with ExitStack() as around:
        if phase == "a sandbox is made":
            around.enter_context(assistant.slow_sandboxes(0.5))
        asked = assistant.ask(path, body)
        eventually(lambda: PHASES[phase].reached(assistant, 0), SECONDS, phase)
        code = WAYS[way](assistant, asked)
        story = assistant.ended(asked.run_id)
        assert (story["status"], story["error"]["code"]) == ("cancelled", code)
        assistant.nothing_runs()
    if kept == "in a conversation":  # its sandbox is free again
        said = assistant.api.post("/api/code/run", json={**body, "code": "print(6 * 7)"}).json()
        assert said["stdout"] == "42\n"
        kept_ones = [one["metadata"].get("conversation_id") for one in assistant.sandboxes()["sandboxes"]]
        assert kept_ones.count(body["conversation_id"]) == 1


# Cancelled in Prefect


@pytest.mark.parametrize("phase", ["a tool runs", "code runs"])
def test_nothing_keeps_running_that_is_cancelled_in_prefect(assistant: Assistant, phase: str) -> None:
    at = PHASES[phase]
    asked = ask(assistant, "chat, streamed", at)
    eventually(lambda: at.reached(assistant, 0), SECONDS, phase)
    prefect = f"{assistant.stack.url('prefect-server')}/api/flow_runs"

    def flow_run_runs() -> str | None:
        flow_run_id = assistant.run(asked.run_id)["prefect_flow_run_id"]
        url = f"{prefect}/{flow_run_id}"
        return url if flow_run_id and httpx.get(url).json()["state_type"] == "RUNNING" else None

    url = eventually(flow_run_runs, 30, "its flow run runs")
    state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    assert httpx.post(f"{url}/set_state", json=state).status_code == 201
    assert "cancelled_in_prefect" in asked.answer()
    story = assistant.ended(asked.run_id)
    assert (story["status"], story["error"]["code"]) == ("cancelled", "cancelled_in_prefect")
    assistant.nothing_runs()
    kept_as_far_as_it_went(assistant, story, at)
