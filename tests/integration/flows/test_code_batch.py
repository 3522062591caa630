"""Batches of code, with a real Prefect server and worker, and a fake E2B endpoint."""

from __future__ import annotations

import signal
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from installation import Installation, eventually

ENDED = {"completed", "failed", "cancelled", "crashed"}


@pytest.fixture
def api(stack: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url("chat-api"), timeout=30) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def worker(stack: Installation) -> Iterator[None]:
    start_worker(stack)
    yield
    stack.stop("flow-worker")


def start_worker(stack: Installation) -> None:
    stack.start("flow-worker")

    def listens() -> bool:
        with socket.create_connection(("127.0.0.1", stack.port("flow-worker")), 1):
            return True

    eventually(listens, 90, "the worker's deployments are there")


def ask(api: httpx.Client, *codes: str, key: str | None = None) -> httpx.Response:
    headers = {"idempotency-key": key} if key else {}
    return api.post("/api/flows/code-batch/runs", json={"jobs": [{"code": code} for code in codes]}, headers=headers)


def story(api: httpx.Client, run_id: str) -> dict[str, Any]:
    return api.get(f"/api/runs/{run_id}").json()


def ended(api: httpx.Client, run_id: str) -> dict[str, Any]:
    found = eventually(lambda: (run := story(api, run_id))["status"] in ENDED and run, 90, "the batch ended")
    assert found
    return found


def test_a_batch_is_run_job_by_job_and_its_run_tells_the_outcome(api: httpx.Client, stack: Installation) -> None:
    reply = ask(api, "print(6 * 7); (home/'a.txt').write_text('a')", "1 / 0")
    assert reply.status_code == 202 and reply.headers["location"] == reply.json()["url"]
    run = ended(api, reply.json()["run_id"])
    assert run["status"] == "completed" and run["kind"] == "code-batch", stack.log("flow-worker")
    assert [(step["name"], step["status"], step["error_code"]) for step in run["steps"]] == [
        ("job-1", "completed", None),
        ("job-2", "completed", "code_error"),
    ]
    files = {file["name"]: file["url"] for file in run["files"]}
    assert set(files) == {"batch.json", "job-1/a.txt", "job-1.json", "job-2.json"}
    assert api.get(files["job-1.json"]).json()["stdout"] == "42\n"
    assert api.get(files["job-2.json"]).json()["error"]["name"] == "ZeroDivisionError"
    deployment = httpx.get(f"{stack.url('prefect-server')}/api/deployments/name/code-batch/code-batch").json()
    assert deployment["global_concurrency_limit"]["limit"] == 2


def test_the_same_key_and_request_is_the_same_run_and_another_request_is_refused(api: httpx.Client) -> None:
    key = str(uuid.uuid4())
    first, again, other = ask(api, "1", key=key), ask(api, "1", key=key), ask(api, "2", key=key)
    assert first.status_code == again.status_code == 202
    assert first.json()["run_id"] == again.json()["run_id"]
    assert other.status_code == 409 and other.json()["code"] == "idempotency_key_used"
    ended(api, first.json()["run_id"])


@pytest.mark.parametrize("where", ["here", "in Prefect"])
def test_a_batch_that_is_cancelled_interrupts_its_code_and_ends_its_sandbox(
    api: httpx.Client, stack: Installation, where: str
) -> None:
    def watched() -> dict[str, Any]:
        return httpx.get(f"{stack.url('sandbox-gateway')}/watch").json()

    def sandbox() -> list[dict[str, Any]]:
        return [one for one in watched()["sandboxes"] if one["metadata"].get("run_id") == run_id]

    before = watched()["interrupted"]
    run_id = ask(api, "wait(300)").json()["run_id"]
    eventually(sandbox, 60, "the batch has a sandbox")
    flow_run = f"{stack.url('prefect-server')}/api/flow_runs/{story(api, run_id)['prefect_flow_run_id']}"
    if where == "here":
        assert api.post(f"/api/runs/{run_id}/cancel").json()["status"] == "cancelled"
    else:
        httpx.post(f"{flow_run}/set_state", json={"state": {"type": "CANCELLING"}}).raise_for_status()
    eventually(lambda: watched()["interrupted"] == before + 1, 60, "the code was interrupted")
    eventually(lambda: not sandbox(), 60, "its sandbox went")
    eventually(lambda: httpx.get(flow_run).json()["state_type"] == "CANCELLED", 60, "its flow run is cancelled")
    assert ended(api, run_id)["status"] == "cancelled"
    assert api.post(f"/api/runs/{run_id}/cancel").status_code == 409


def test_a_batch_that_could_not_be_written_down_is_closed_and_its_key_is_free_again(
    api: httpx.Client, stack: Installation
) -> None:
    key, folder = str(uuid.uuid4()), stack.home / "data" / "files"
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder.rename(folder.with_name("aside"))
    folder.write_bytes(b"")  # no file can be written below it, as on a full disk
    try:
        refused = ask(api, "1", key=key)
    finally:
        folder.unlink()
        aside.rename(folder)
    assert refused.status_code == 500
    newest = api.get("/api/runs", params={"limit": 1}).json()["runs"][0]
    assert newest["status"] == "failed" and story(api, newest["id"])["error"]["code"] == "flow_not_begun"
    again = ask(api, "1", key=key)
    assert again.status_code == 202 and ended(api, again.json()["run_id"])["status"] == "completed"


@pytest.mark.full
def test_a_batch_whose_flow_run_was_removed_in_prefect_is_closed(api: httpx.Client, stack: Installation) -> None:
    stack.stop("flow-worker")
    try:
        run_id = ask(api, "1").json()["run_id"]
        flow_run = f"{stack.url('prefect-server')}/api/flow_runs/{story(api, run_id)['prefect_flow_run_id']}"
        httpx.delete(flow_run).raise_for_status()
        run = ended(api, run_id)
    finally:
        stack.start("flow-worker")
    assert run["status"] == "crashed" and run["error"]["code"] == "flow_lost"


def test_a_batch_whose_sandbox_cannot_be_had_fails(api: httpx.Client, stack: Installation) -> None:
    sandboxes = stack.url("sandbox-gateway")
    httpx.post(f"{sandboxes}/watch/fail", json={"status": 503})
    try:
        run = ended(api, ask(api, "1").json()["run_id"])
    finally:
        httpx.post(f"{sandboxes}/watch/fail", json={"status": None})
    assert run["status"] == "failed" and run["steps"][0]["error_code"] == "sandboxes_busy"


@pytest.mark.full
def test_a_batch_whose_worker_is_killed_goes_on_with_the_job_that_had_not_ended(
    api: httpx.Client, stack: Installation
) -> None:
    run_id = ask(api, "(home/'a.txt').write_text('a')", "wait(4)").json()["run_id"]
    eventually(lambda: len(story(api, run_id)["steps"]) == 1, 60, "the first job was run")
    stack.stop("flow-worker", signal.SIGKILL)
    assert story(api, run_id)["status"] == "running"
    start_worker(stack)
    run = ended(api, run_id)
    assert run["status"] == "completed" and [step["name"] for step in run["steps"]] == ["job-1", "job-2"]
    assert sorted(file["name"] for file in run["files"]) == ["batch.json", "job-1.json", "job-1/a.txt", "job-2.json"]


def test_a_second_worker_does_not_end_the_batches_of_the_first(api: httpx.Client, stack: Installation) -> None:
    run_id = ask(api, "wait(300)").json()["run_id"]
    eventually(lambda: story(api, run_id)["status"] == "running", 60, "the batch runs")
    flow_run = f"{stack.url('prefect-server')}/api/flow_runs/{story(api, run_id)['prefect_flow_run_id']}"
    second = stack.run("-m", "flows.worker", timeout=90)
    assert second.returncode != 0 and "address already in use" in second.stderr
    assert httpx.get(flow_run).json()["state_type"] == "RUNNING" and story(api, run_id)["status"] == "running"
    api.post(f"/api/runs/{run_id}/cancel").raise_for_status()
