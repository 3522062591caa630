"""A chat turn's flow run, on a real Prefect server."""

from __future__ import annotations

import json
import signal
import uuid
from typing import Any

import httpx
import pytest
from installation import Installation, eventually


@pytest.fixture
def api(stack: Installation) -> httpx.Client:
    return httpx.Client(base_url=stack.url("chat-api"), timeout=30)


@pytest.fixture
def prefect(stack: Installation) -> httpx.Client:
    return httpx.Client(base_url=f"{stack.url('prefect-server')}/api", timeout=30)


def run_of(api: httpx.Client, run_id: str) -> dict[str, Any]:
    return api.get(f"/api/runs/{run_id}").json()


def flow_run_of(prefect: httpx.Client, run: dict[str, Any]) -> dict[str, Any]:
    return prefect.get(f"/flow_runs/{run['prefect_flow_run_id']}").json()


def recorded(api: httpx.Client, run_id: str, seconds: float = 15) -> dict[str, Any]:
    def asked() -> dict[str, Any] | None:
        run = run_of(api, run_id)
        return run if run.get("prefect_recorded") else None

    found = eventually(asked, seconds, f"run {run_id} is recorded in Prefect")
    assert found is not None
    return found


class Stream:
    """A stream under way, read event by event."""

    def __init__(self, api: httpx.Client, **request: Any) -> None:
        self._open = api.stream("POST", "/api/chat/stream", json=request)
        self.reply = self._open.__enter__()
        assert self.reply.status_code == 200, self.reply.read()
        self._lines = self.reply.iter_lines()
        self.start = self.next()
        self.run_id: str = self.start["run_id"]

    def next(self) -> dict[str, Any]:
        return next(json.loads(line[6:]) for line in self._lines if line.startswith("data: "))

    def rest(self) -> list[dict[str, Any]]:
        return [json.loads(line[6:]) for line in self._lines if line.startswith("data: ")]

    def close(self) -> None:
        self._open.__exit__(None, None, None)


def test_a_turn_is_a_completed_flow_run_that_carries_its_ids(api: httpx.Client, prefect: httpx.Client) -> None:
    reply = api.post("/api/chat", json={"message": "hola"}).json()
    run = recorded(api, reply["run_id"])
    flow_run = flow_run_of(prefect, run)
    assert flow_run["state"]["type"] == "COMPLETED" and flow_run["name"] == f"chat-{run['id']}"
    assert {"capibara6", f"run:{run['id']}", "origin:chat"} <= set(flow_run["tags"])
    assert any(tag.startswith("stack:") for tag in flow_run["tags"])
    assert flow_run["parameters"] == {"run_id": run["id"], "conversation_id": run["conversation_id"]}


def test_a_failed_turn_is_a_failed_flow_run(api: httpx.Client, prefect: httpx.Client) -> None:
    stream = Stream(api, message="hola tokens=9 error=3")
    assert stream.rest()[-1]["type"] == "error"
    flow_run = flow_run_of(prefect, recorded(api, stream.run_id))
    assert flow_run["state"]["type"] == "FAILED" and "engine_died" in flow_run["state"]["message"]


def test_a_step_taken_while_the_flow_run_stands_is_a_task_of_it(api: httpx.Client, prefect: httpx.Client) -> None:
    """The first call waits long enough for the flow run to stand, then breaks: the second one is its task."""
    reply = api.post("/api/chat", json={"message": "hola wait=3 die_once=task tokens=2"}).json()
    run = recorded(api, reply["run_id"])
    assert [step["name"] for step in run["steps"]] == ["model_call", "model_call_retry"]
    wanted = {"flow_runs": {"id": {"any_": [run["prefect_flow_run_id"]]}}}
    tasks = eventually(lambda: prefect.post("/task_runs/filter", json=wanted).json(), 15, "the task run is listed")
    assert [task["name"].rsplit("-", 1)[0] for task in tasks] == ["model_call_retry"]
    eventually(
        lambda: prefect.post("/task_runs/filter", json=wanted).json()[0]["state_type"] == "COMPLETED",
        15,
        "it completed",
    )


@pytest.mark.parametrize("state", ["CANCELLING", "CANCELLED"])
def test_cancelling_in_prefect_stops_the_generation_within_five_seconds(
    api: httpx.Client, prefect: httpx.Client, stack: Installation, state: str
) -> None:
    stream = Stream(api, message="hola tokens=4000 every=0.05")
    run = eventually(
        lambda: (found := run_of(api, stream.run_id))["prefect_flow_run_id"] and found, 15, "the flow run is made"
    )
    eventually(lambda: flow_run_of(prefect, run)["state_type"] == "RUNNING", 10, "the flow run runs")
    body = {"state": {"type": state, "name": state.capitalize()}, "force": state == "CANCELLED"}
    assert prefect.post(f"/flow_runs/{run['prefect_flow_run_id']}/set_state", json=body).status_code == 201
    watch = f"{stack.url('model-server')}/watch"
    eventually(lambda: httpx.get(watch).json()["open"] == 0, 5, "generation stopped")
    last = stream.rest()[-1]
    assert last["type"] == "error" and last["error"]["code"] == "cancelled_in_prefect"
    run = recorded(api, stream.run_id)
    assert run["status"] == "cancelled" and flow_run_of(prefect, run)["state_type"] == "CANCELLED"
    kept = api.get(f"/api/conversations/{run['conversation_id']}").json()["messages"]
    assert kept[-1]["role"] == "assistant" and not kept[-1]["complete"]


def test_a_client_that_goes_away_leaves_a_cancelled_flow_run(api: httpx.Client, prefect: httpx.Client) -> None:
    stream = Stream(api, message="hola tokens=4000 every=0.05")
    stream.next()
    stream.close()
    run = recorded(api, stream.run_id)
    assert run["status"] == "cancelled" and flow_run_of(prefect, run)["state_type"] == "CANCELLED"


def test_sigterm_in_mid_stream_ends_it_with_a_reason_and_closes_the_run(
    api: httpx.Client, prefect: httpx.Client, stack: Installation
) -> None:
    stream = Stream(api, message="hola tokens=4000 every=0.05")
    run = eventually(
        lambda: (found := run_of(api, stream.run_id))["prefect_flow_run_id"] and found, 15, "the flow run is made"
    )
    stack.processes["chat-api"].send_signal(signal.SIGTERM)
    last = stream.rest()[-1]
    assert last["type"] == "error" and last["error"]["code"] == "server_stopping"
    assert stack.stop("chat-api", seconds=12) in {0, -signal.SIGTERM}  # uvicorn ends by the signal it was sent
    stack.start_chat()
    stack.wait_for_flows()
    run = recorded(api, stream.run_id)
    assert run["status"] == "cancelled" and run["error"]["code"] == "server_stopping"
    assert flow_run_of(prefect, run)["state_type"] == "CANCELLED"


def test_runs_that_a_killed_process_left_open_are_crashed_in_both_places(
    api: httpx.Client, prefect: httpx.Client, stack: Installation
) -> None:
    stream = Stream(api, message="hola tokens=4000 every=0.05")
    run = eventually(
        lambda: (found := run_of(api, stream.run_id))["prefect_flow_run_id"] and found, 15, "the flow run is made"
    )
    eventually(lambda: flow_run_of(prefect, run)["state_type"] == "RUNNING", 10, "the flow run runs")
    stack.stop("chat-api", signal.SIGKILL)
    stack.start_chat()
    run = eventually(
        lambda: (found := run_of(api, stream.run_id))["status"] == "crashed" and found, 10, "the run is crashed"
    )
    assert run["error"]["code"] == "process_lost"
    eventually(lambda: flow_run_of(prefect, run)["state_type"] == "CRASHED", 20, "the flow run is crashed")
    kept = api.get(f"/api/conversations/{run['conversation_id']}").json()["messages"]
    assert [one["role"] for one in kept] == ["user"]


def test_a_chat_is_answered_while_prefect_is_down_and_recorded_when_it_is_back(
    api: httpx.Client, prefect: httpx.Client, stack: Installation
) -> None:
    def outages() -> list[str]:
        return [line for line in stack.log("chat-api").splitlines() if "Prefect is away" in line]

    earlier = outages()
    stack.stop("prefect-server", signal.SIGKILL)
    replies = [api.post("/api/chat", json={"message": "hola"}) for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200] * 4
    cancelled = str(uuid.uuid4())
    with pytest.raises(httpx.ReadTimeout):
        api.post(
            "/api/chat",
            json={"message": "hola tokens=2000 every=0.3"},
            timeout=0.3,
            headers={"x-capibara6-run-id": cancelled},
        )

    def noticed() -> bool:
        state = api.get("/health/ready")
        assert state.status_code == 200
        return bool(state.json()["checks"]["prefect"].startswith("away"))

    eventually(noticed, 10, "the chat API says that Prefect is away")
    assert api.post("/api/chat", json={"message": "hola"}).status_code == 200
    told = outages()[len(earlier) :]
    assert len(told) <= 2, (earlier, told)  # once an outage, not once a run
    stack.start_prefect()
    for reply in replies:
        run = recorded(api, reply.json()["run_id"], 60)
        flow_run = flow_run_of(prefect, run)
        assert flow_run["state"]["type"] == "COMPLETED" and "origin:chat" in flow_run["tags"]
    assert flow_run_of(prefect, recorded(api, cancelled, 60))["state"]["type"] == "CANCELLED"
    assert "Recorded afterwards" in flow_run_of(prefect, run_of(api, replies[-1].json()["run_id"]))["state"]["message"]
