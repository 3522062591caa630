"""Parts die, ports are taken, people change their minds: what must happen then, on the real stack."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.stack import SERVICES, Stack, eventually

LONG = "Write a very long story about the sea, with many chapters."


def start_of_answer(events: Iterator[dict[str, Any]], tokens: int = 3) -> tuple[str, str]:
    """Reads a stream until some tokens came. Returns the run's id and what was said so far."""
    run_id, said = "", ""
    for event in events:
        run_id = event.get("run_id") or run_id
        if event["type"] == "token":
            said += event["content"]
            tokens -= 1
            if tokens == 0:
                return run_id, said
    raise AssertionError(f"the answer ended early: {said!r}")


def running_requests(stack: Stack) -> float:
    return float(sum(engine["in_flight"] for engine in stack.get("model-server", "/stats")["engines"]))


def warm(stack: Stack) -> None:
    """The model loaded, so that a test's own times are not a load's."""
    assert list(stack.events("Hi", max_tokens=2))[-1]["type"] == "end"


def test_a_killed_service_comes_back_and_status_tells(stack: Stack) -> None:
    before = stack.status()["chat-api"]
    psutil.Process(before["pid"]).kill()

    def another() -> dict[str, Any] | None:
        now = stack.status()["chat-api"]
        return now if now["state"] == "ready" and now["pid"] != before["pid"] else None

    after = eventually(another, 60, "chat-api is ready again")
    assert after["restarts"] == before["restarts"] + 1
    warm(stack)


def ended(stack: Stack, run_id: str) -> dict[str, Any] | None:
    story = stack.run_story(run_id)
    return story if story["ended_at"] else None


def test_an_engine_killed_in_the_middle_of_an_answer(stack: Stack) -> None:
    warm(stack)
    with closing(stack.events(LONG, model="phi4_fast", max_tokens=400)) as events:
        run_id, said = start_of_answer(events)
        for engine in stack.engines():
            engine.kill()
        rest = list(events)
    assert rest[-1]["type"] == "error"
    assert rest[-1]["done"] is True
    assert rest[-1]["error"]["code"] == "engine_died"
    story = eventually(lambda: ended(stack, run_id), 10, "the run ended")
    assert story["status"] == "failed"
    conversation = stack.get("chat-api", f"/api/conversations/{story['conversation_id']}")
    assert conversation["messages"][-1]["content"].startswith(said)


def test_the_next_question_loads_it_again_and_two_models_are_two_engine_processes(stack: Stack) -> None:
    """Follows the killed engine. Both loads go on side by side: they take most of this test's minutes."""

    def ask(model: str) -> dict[str, Any]:
        return list(stack.events("Hi", model=model, max_tokens=2))[-1]

    with ThreadPoolExecutor(2) as pool:
        ends = list(pool.map(ask, ("phi4_fast", "qwen_coder")))
    assert [(end["type"], end["model"]) for end in ends] == [("end", "phi4_fast"), ("end", "qwen_coder")]
    loaded = {engine["model"]: engine["pid"] for engine in stack.get("model-server", "/stats")["engines"]}
    assert set(loaded) == {"phi4_fast", "qwen_coder"}
    assert all(psutil.pid_exists(pid) for pid in loaded.values())
    assert len(set(loaded.values())) == 2
    httpx.post(f"{stack.url('model-server')}/models/qwen_coder/unload", timeout=60).raise_for_status()
    eventually(lambda: not psutil.pid_exists(loaded["qwen_coder"]), 30, "the unloaded engine is gone")


def test_a_client_that_goes_away_stops_the_generation(stack: Stack) -> None:
    warm(stack)
    with closing(stack.events(LONG, max_tokens=400)) as events:
        run_id, _ = start_of_answer(events)
        assert running_requests(stack) == 1
    eventually(lambda: running_requests(stack) == 0, 5, "the model server has nothing in flight")
    eventually(lambda: stack.run_story(run_id)["status"] == "cancelled", 10, "the run is cancelled")


def test_cancelling_the_flow_run_in_prefect_stops_the_generation(stack: Stack) -> None:
    warm(stack)
    api = f"{stack.url('prefect-server')}/api"
    with closing(stack.events(LONG, max_tokens=1500)) as events:
        run_id, _ = start_of_answer(events)
        found = {"flow_runs": {"tags": {"all_": [f"run:{run_id}"]}, "state": {"type": {"any_": ["RUNNING"]}}}}
        [flow] = eventually(
            lambda: httpx.post(f"{api}/flow_runs/filter", json=found).json(), 20, "the flow run is running"
        )
        cancelled_at = time.monotonic()
        body = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        assert httpx.post(f"{api}/flow_runs/{flow['id']}/set_state", json=body).status_code in (200, 201)
        rest = list(events)
        assert time.monotonic() - cancelled_at < 5
    assert rest[-1]["type"] == "error"
    assert running_requests(stack) == 0
    eventually(lambda: stack.run_story(run_id)["status"] == "cancelled", 10, "the run is cancelled")

    def flow_state() -> str:
        return str(httpx.get(f"{api}/flow_runs/{flow['id']}").json()["state"]["type"])

    eventually(lambda: flow_state() != "CANCELLING", 15, "Prefect has closed the flow run")
    assert flow_state() == "CANCELLED"


def test_chat_is_answered_while_prefect_is_down_and_recorded_afterwards(stack: Stack) -> None:
    psutil.Process(stack.status()["prefect-server"]["pid"]).kill()
    end = list(stack.events("Hi", max_tokens=4))[-1]
    assert end["type"] == "end"
    eventually(lambda: stack.states()["prefect-server"] == "ready", 90, "Prefect is back")
    flow_run_id = eventually(
        lambda: stack.run_story(end["run_id"])["prefect_flow_run_id"], 60, "the missed run is recorded in Prefect"
    )
    state = eventually(
        lambda: httpx.get(f"{stack.url('prefect-server')}/api/flow_runs/{flow_run_id}").json().get("state"),
        30,
        "its state",
    )
    assert state["type"] == "COMPLETED"


def test_postgres_restarted_while_the_stack_runs(stack: Stack) -> None:
    postgres = psutil.Process(stack.status()["postgres"]["pid"])
    postgres.kill()
    body = {"message": "Hi", "max_tokens": 2}
    answers = set()

    def answered() -> bool:
        reply = httpx.post(f"{stack.url('chat-api')}/api/chat", json=body, timeout=60)
        answers.add(reply.status_code)
        if reply.status_code != 200:
            assert reply.headers["content-type"] == "application/problem+json"
        return reply.status_code == 200

    eventually(answered, 60, "questions are answered again")
    assert answers <= {200, 503}
    pids = stack.status()
    assert pids["chat-api"]["state"] == "ready"
    eventually(lambda: set(stack.states().values()) == {"ready"}, 60, "everything is ready, without a restart of ours")


def test_stopping_in_the_middle_of_a_stream(stack: Stack) -> None:
    warm(stack)
    chat_api = psutil.Process(stack.status()["chat-api"]["pid"])
    with closing(stack.events(LONG, max_tokens=1500)) as events:
        run_id, _ = start_of_answer(events)
        chat_api.send_signal(signal.SIGTERM)
        rest = list(events)
    assert rest[-1]["type"] == "error"
    assert rest[-1]["error"]["code"] == "server_stopping"
    eventually(lambda: stack.states()["chat-api"] == "ready", 60, "the supervisor started it again")
    assert stack.run_story(run_id)["status"] == "cancelled"


def test_a_killed_chat_api_leaves_no_run_open(stack: Stack) -> None:
    warm(stack)
    chat_api = psutil.Process(stack.status()["chat-api"]["pid"])
    events = stack.events(LONG, max_tokens=1500)
    run_id, _ = start_of_answer(events)
    chat_api.kill()
    with pytest.raises(httpx.HTTPError):
        list(events)
    eventually(lambda: stack.states()["chat-api"] == "ready", 60, "the supervisor started it again")
    story = stack.run_story(run_id)
    assert story["status"] == "crashed"
    eventually(lambda: running_requests(stack) == 0, 10, "nobody generates for the dead")

    def flow_states() -> set[str]:
        body = {"flow_runs": {"tags": {"all_": [f"run:{run_id}"]}}}
        found = httpx.post(f"{stack.url('prefect-server')}/api/flow_runs/filter", json=body).json()
        return {flow["state"]["type"] for flow in found}

    eventually(lambda: flow_states() == {"CRASHED"}, 30, "Prefect's flow run is closed as crashed")


def test_a_service_on_the_wrong_node_refuses(stack: Stack, tmp_path: Path) -> None:
    python = stack.home / "envs" / "services" / "bin" / "python"
    variables = stack.environment() | {
        "CAPIBARA6_HOME": str(stack.home), "CAPIBARA6_NODE": "models-europe", "PYTHONPATH": str(stack.root),
    }  # fmt: skip
    done = subprocess.run(
        [str(python), "-m", "services_node.chat_api"], env=variables, cwd=stack.root, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.strip().splitlines()[-1].startswith("chat-api: chat-api belongs to node services")


def test_doctor_is_content(stack: Stack) -> None:
    done = stack.ok("doctor")
    assert all(f"port {port + stack.port_offset}" in done.stdout for port in (5433, 4200, 8082, 5000))
    assert {"✗"}.isdisjoint(done.stdout)
    assert len(SERVICES) <= done.stdout.count("✓")
