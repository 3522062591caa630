"""What the flow worker does: batches of questions that outlive their worker, the clock's flows, Prefect's pages."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import signal
import socket
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import psutil
import pytest
from history_house import ask
from installation import Installation, eventually
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from db.urls import OWN_DATABASE, PREFECT_DATABASE, database_url
from stack.secrets import load_secrets
from stack.settings import read_settings

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


def begin(api: httpx.Client, flow: str, **parameters: Any) -> str:
    reply = api.post(f"/api/flows/{flow}/runs", json={"parameters": parameters})
    assert reply.status_code == 202, reply.text
    return reply.json()["run_id"]


def upload(api: httpx.Client, name: str, data: str) -> str:
    reply = api.post("/api/files", files={"file": (name, data.encode())})
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


def story(api: httpx.Client, run_id: str) -> dict[str, Any]:
    return api.get(f"/api/runs/{run_id}").json()


def ended(api: httpx.Client, run_id: str) -> dict[str, Any]:
    found = eventually(lambda: (run := story(api, run_id))["status"] in ENDED and run, 120, "the run ended")
    assert found
    return found


def content(api: httpx.Client, run: dict[str, Any], name: str) -> str:
    (url,) = [file["url"] for file in run["files"] if file["name"] == name]
    return api.get(url).text


def prefect(stack: Installation, path: str, **asked: Any) -> Any:
    reply = httpx.post(f"{stack.url('prefect-server')}/api{path}", json=asked, timeout=30)
    reply.raise_for_status()
    return reply.json()


def flow_run(stack: Installation, run: dict[str, Any]) -> dict[str, Any]:
    return httpx.get(f"{stack.url('prefect-server')}/api/flow_runs/{run['prefect_flow_run_id']}").json()


def artifacts(stack: Installation, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    of_it = {"flow_run_id": {"any_": [run["prefect_flow_run_id"]]}}
    return {one["key"]: one for one in prefect(stack, "/artifacts/filter", artifacts=of_it)}


def deployment(stack: Installation, name: str) -> httpx.Response:
    return httpx.get(f"{stack.url('prefect-server')}/api/deployments/name/{name}/{name}")


def page_of(stack: Installation, run: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The artifacts of a flow run that has ended, which it does a moment after its run."""
    eventually(lambda: flow_run(stack, run)["state_type"] in {"COMPLETED", "FAILED"}, 60, "the flow run ended")
    return artifacts(stack, run)


def asked_of_models(stack: Installation, word: str) -> Counter[str]:
    """How often each message with this word was asked."""
    seen = httpx.get(f"{stack.url('model-server')}/watch").json()["seen"]
    texts = [one["body"]["messages"][-1]["content"] for one in seen]
    return Counter(text for text in texts if word in text)


def test_a_csv_of_questions_is_answered_line_by_line_and_wrong_lines_are_named(
    api: httpx.Client, stack: Installation
) -> None:
    word = uuid.uuid4().hex
    lines = [
        "id;message;max_tokens;model",
        f'a;"hola, {word}\nsays=(uno dos)";5;qwen_coder',
        f"b;{word} full_once={word} tokens=2;;",
        "c;;;",
        f"d;{word} tokens=1;many;",
        f"e;{word} status=404;;",
    ]
    run = ended(api, begin(api, "chat-batch", file_id=upload(api, "leads.csv", "\n".join(lines))))
    assert run["status"] == "completed" and run["kind"] == "chat-batch", stack.log("flow-worker")
    told = {one["id"]: one for one in map(json.loads, content(api, run, "results.jsonl").splitlines())}
    assert [(name, one["line"], one["status"]) for name, one in told.items()] == [
        ("a", 2, "completed"), ("b", 4, "completed"), ("c", 5, "failed"), ("d", 6, "failed"), ("e", 7, "failed"),
    ]  # fmt: skip
    assert told["a"]["response"] == "uno dos " and told["a"]["model"] == "qwen_coder"
    assert told["b"]["attempts"] == 2 and told["b"]["response"] == "t0 t1 "
    assert told["c"]["error"]["code"] == told["d"]["error"]["code"] == "wrong_line"
    assert "max_tokens" in told["d"]["error"]["detail"] and told["e"]["error"]["code"] == "queue_full"
    rows = list(csv.DictReader(io.StringIO(content(api, run, "results.csv"))))
    assert [row["id"] for row in rows] == list("abcde") and rows[0]["response"] == "uno dos "
    (first,) = [
        one
        for one in httpx.get(f"{stack.url('model-server')}/watch").json()["seen"]
        if f"hola, {word}" in one["body"]["messages"][-1]["content"]
    ]
    assert first["headers"]["x-capibara6-priority"] == "batch" and first["headers"]["x-capibara6-run-id"] == run["id"]
    assert first["body"]["max_tokens"] == 5
    of_it, shown = page_of(stack, run), flow_run(stack, run)
    assert shown["state"]["name"] == "CompletedWithFailures" and "leads.csv" in shown["name"]
    assert {"capibara6", "origin:api", f"run:{run['id']}"} <= set(shown["tags"])
    table = of_it[f"chat-batch-items-{run['id']}"]
    assert [row["status"] for row in json.loads(table["data"])][:3] == ["failed"] * 3
    assert f"/api/runs/{run['id']}" in of_it[f"chat-batch-summary-{run['id']}"]["data"]
    assert of_it[f"chat-batch-{run['id']}"]["data"] == 100
    page = api.get(f"/api/runs/{run['id']}/items", params={"after": 2, "limit": 2}).json()
    assert [one["id"] for one in page["items"]] == ["b", "c"] and page["next_after"] == 5 and page["failed"] == 3


@pytest.mark.full
def test_a_batch_of_which_nothing_can_be_answered_fails_and_its_page_says_why(
    api: httpx.Client, stack: Installation
) -> None:
    run = ended(api, begin(api, "chat-batch", items=[{"message": "hola", "model": "nobody"}]))
    assert run["status"] == "failed" and run["error"]["code"] == "all_items_failed"
    assert "all_items_failed" in page_of(stack, run)["chat-batch-failed"]["data"]
    assert "model_not_found" in flow_run(stack, run)["state"]["message"]


def test_a_batch_whose_worker_is_killed_goes_on_and_asks_nothing_twice(api: httpx.Client, stack: Installation) -> None:
    word = uuid.uuid4().hex
    items = [{"id": str(number), "message": f"{word}-{number} tokens=1 first=0.4"} for number in range(30)]
    run_id = begin(api, "chat-batch", items=items)

    def answered() -> list[dict[str, Any]]:
        told = api.get(f"/api/runs/{run_id}/items", params={"limit": 100}).json()
        return [one for one in told["items"] if one["status"] == "completed"]

    eventually(lambda: len(answered()) >= 6, 90, "some items are answered")
    processes = psutil.Process(stack.processes["flow-worker"].pid).children(recursive=True)
    stray = prefect(
        stack, "/deployments/", name="older", flow_id=flow_run(stack, story(api, run_id))["flow_id"],
        tags=["served-by:flow-worker"],
    )  # fmt: skip
    stack.stop("flow-worker", signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, timeout=20)
    assert not alive, "the batch's process ends with its worker"
    before = {one["id"] for one in answered()}
    assert len(before) < 30 and story(api, run_id)["status"] == "running"
    stack.extra["CAPIBARA6_DIGEST_CRON"] = "5 6 * * 1-5"
    try:
        start_worker(stack)
    finally:
        del stack.extra["CAPIBARA6_DIGEST_CRON"]
    run = ended(api, run_id)
    assert run["status"] == "completed" and len(answered()) == 30, stack.log("flow-worker")
    assert len(content(api, run, "results.jsonl").splitlines()) == 30
    asked = asked_of_models(stack, word)
    assert len(asked) == 30 and sum(asked.values()) <= 32  # two were under way
    assert all(asked[one["message"]] == 1 for one in items if one["id"] in before)
    names = [step["name"] for step in run["steps"]]
    assert names[-1] == "results" and len(names) == len(set(names))
    # The same start has written a changed schedule, and removed what is no deployment any more.
    (schedule,) = deployment(stack, "digest").json()["schedules"]
    assert schedule["schedule"]["cron"] == "5 6 * * 1-5"
    gone = httpx.get(f"{stack.url('prefect-server')}/api/deployments/{stray['id']}")
    assert gone.status_code == 404


@pytest.mark.full
def test_a_worker_that_is_stopped_leaves_its_batch_for_the_next(api: httpx.Client, stack: Installation) -> None:
    run_id = begin(
        api, "chat-batch", items=[{"message": f"tokens=1 first={1 if number else 300}"} for number in (1, 0)]
    )
    eventually(lambda: open_streams(stack) == 1, 60, "the long one is under way")
    stack.stop("flow-worker")
    eventually(lambda: open_streams(stack) == 0, 10, "its call is closed")
    assert story(api, run_id)["status"] == "running"
    start_worker(stack)
    eventually(lambda: open_streams(stack) == 1, 60, "it is asked again")
    assert api.post(f"/api/runs/{run_id}/cancel").json()["status"] == "cancelled"
    eventually(lambda: open_streams(stack) == 0, 30, "its call is closed")


def open_streams(stack: Installation) -> int:
    return httpx.get(f"{stack.url('model-server')}/watch/state").json()["open"]


def test_a_batch_that_is_cancelled_in_prefect_stops_at_once_and_its_row_says_so(
    api: httpx.Client, stack: Installation
) -> None:
    run_id = begin(api, "chat-batch", items=[{"message": "tokens=2000 every=0.05"}] * 3)
    eventually(lambda: open_streams(stack) == 2, 60, "two items are being answered")
    where = f"{stack.url('prefect-server')}/api/flow_runs/{story(api, run_id)['prefect_flow_run_id']}"
    httpx.post(f"{where}/set_state", json={"state": {"type": "CANCELLING"}}).raise_for_status()
    eventually(lambda: open_streams(stack) == 0, 30, "the models were told")
    run = ended(api, run_id)
    assert run["status"] == "cancelled" and run["error"]["code"] == "cancelled_in_prefect"
    eventually(lambda: httpx.get(where).json()["state_type"] == "CANCELLED", 30, "its flow run is cancelled")


def test_a_batch_that_is_cancelled_by_its_owner_says_so_and_what_it_had_not_done(
    api: httpx.Client, stack: Installation
) -> None:
    items = [{"message": "tokens=1"}, *[{"message": "tokens=2000 every=0.05"}] * 30]
    run_id = begin(api, "chat-batch", items=items)
    eventually(lambda: (story(api, run_id)["progress"] or {}).get("done") == 1, 60, "one item is done")
    assert story(api, run_id)["progress"] == {"done": 1, "of": 31}
    reply = api.post(f"/api/runs/{run_id}/cancel")
    assert reply.status_code == 200 and reply.json()["error"]["code"] == "cancelled_by_client"
    told = api.get(f"/api/runs/{run_id}/items").json()["items"]
    assert Counter(one["status"] for one in told) == {"completed": 1, "cancelled": 30}


def test_schedules_and_limits_are_in_prefect(stack: Installation) -> None:
    retention = deployment(stack, "retention").json()
    (schedule,) = retention["schedules"]
    assert schedule["active"] and schedule["schedule"]["cron"] == "45 3 * * *"
    assert schedule["schedule"]["timezone"] == "UTC" and schedule["parameters"] == {"dry_run": False}
    assert {"capibara6", "maintenance"} <= set(retention["tags"]) and retention["description"]
    assert retention["global_concurrency_limit"]["limit"] == 1
    for name in ("routing-evaluation", "warm-up", "chat-batch"):
        assert deployment(stack, name).json()["schedules"] == []
    # Prefect's own scheduler has read it: a version of SQLAlchemy that it cannot live with shows here alone.
    due = {
        "deployments": {"id": {"any_": [retention["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    first = eventually(lambda: prefect(stack, "/flow_runs/filter", **due), 60, "its runs to come are there")[0]
    assert first["auto_scheduled"] and first["expected_start_time"][11:16] == "03:45"


def test_a_digest_by_hand_and_a_flow_run_of_nobodys_have_rows_files_and_pages(
    api: httpx.Client, stack: Installation
) -> None:
    ask(api, message="¿qué hora es? tokens=1")
    assert api.post("/api/chat", json={"message": "hola", "model": "nobody"}).status_code == 404
    today = datetime.now(UTC).date().isoformat()
    warm_up = f"/deployments/{deployment(stack, 'warm-up').json()['id']}/create_flow_run"
    not_by_us = prefect(stack, warm_up, parameters={"models": ["qwen_coder", "nobody"]})
    run = ended(api, begin(api, "digest", day=today))
    assert run["status"] == "completed", stack.log("flow-worker")
    told = content(api, run, f"digest-{today}.md")
    assert f"# {today}" in told and "| chat | chat | completed |" in told and "Written by" in told
    assert "| chat | model\\_not\\_found |" in told and "qwen\\_coder" in told
    assert page_of(stack, run)["digest"]["data"] == told and flow_run(stack, run)["name"] == f"digest {today}"
    assert [step["name"] for step in run["steps"]] == ["count", "summary", "keep"]

    def row() -> dict[str, Any] | None:
        found = api.get("/api/runs", params={"kind": "warm-up", "origin": "schedule", "status": "failed"}).json()
        return next((one for one in found["runs"] if one["prefect_flow_run_id"] == not_by_us["id"]), None)

    failed = eventually(row, 60, "the flow run that nobody asked the API for has a row")
    assert failed and failed["error"]["code"] == "models_not_loaded"
    of_it = page_of(stack, failed)
    assert {f"run:{failed['id']}", "origin:schedule", "maintenance"} <= set(flow_run(stack, failed)["tags"])
    assert "nobody: model" in of_it["warm-up-failed"]["data"]
    loaded = json.loads(of_it["warm-up"]["data"])
    assert [(row["model"], row["loaded"]) for row in loaded] == [("nobody", "no"), ("qwen_coder", "yes")]


def test_what_a_maintenance_run_could_not_do_at_once_it_does_a_moment_later(
    api: httpx.Client, stack: Installation
) -> None:
    models = [f"full_once_{uuid.uuid4().hex}", "nobody"]
    run = ended(api, begin(api, "warm-up", models=models))
    assert run["status"] == "failed" and "nobody: model_not_found" in run["error"]["detail"], stack.log("flow-worker")
    assert models[0] not in run["error"]["detail"], "the second time it was loaded"
    of_it = {"flow_runs": {"id": {"any_": [run["prefect_flow_run_id"]]}}, "sort": "EXPECTED_START_TIME_ASC"}
    first, second = prefect(stack, "/task_runs/filter", **of_it)
    assert (first["run_count"], first["state_type"]) == (2, "COMPLETED")
    assert (second["run_count"], second["state_type"]) == (1, "FAILED"), "there is no such model a moment later either"
    assert first["empirical_policy"]["retry_jitter_factor"] == 0.5, "many that fail together do not come back together"


@pytest.mark.full
def test_a_batch_waits_for_its_place_which_a_restart_of_prefect_does_not_take_from_the_one_before(
    api: httpx.Client, stack: Installation
) -> None:
    first = begin(api, "chat-batch", items=[{"message": "tokens=1 first=300"}])
    eventually(lambda: open_streams(stack) == 1, 60, "the first is at work")
    second = begin(api, "chat-batch", items=[{"message": "tokens=1"}])
    waits = "AwaitingConcurrencySlot"
    eventually(lambda: flow_run(stack, story(api, second))["state_name"] == waits, 60, "the second waits")
    lease = flow_run(stack, story(api, first))["state"]["state_details"]["deployment_concurrency_lease_id"]
    stack.stop("prefect-server")
    stack.start_prefect()
    url = f"{stack.url('prefect-server')}/api"
    assert httpx.post(f"{url}/v2/concurrency_limits/leases/{lease}/renew", json={}, timeout=30).status_code == 204
    assert story(api, first)["status"] == "running" and open_streams(stack) == 1
    where = f"{url}/flow_runs/{story(api, second)['prefect_flow_run_id']}/set_state"
    httpx.post(where, json={"state": {"type": "CANCELLED"}, "force": True}, timeout=30).raise_for_status()
    run = ended(api, second)
    assert run["status"] == "cancelled" and run["error"]["code"] in {"flow_cancelled", "cancelled_in_prefect"}
    stack.wait_for_flows()
    assert api.post(f"/api/runs/{first}/cancel").json()["status"] == "cancelled"
    eventually(lambda: open_streams(stack) == 0, 30, "its call is closed")


@pytest.mark.full
def test_what_was_due_long_ago_is_not_done_when_the_worker_comes(stack: Installation) -> None:
    due = {
        "deployments": {"name": {"any_": ["retention"]}}, "sort": "EXPECTED_START_TIME_ASC",
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }  # fmt: skip
    late = eventually(lambda: prefect(stack, "/flow_runs/filter", **due), 60, "its runs to come are there")[0]["id"]
    stack.stop("flow-worker")
    yesterday = "now() - interval '1 day'"
    aging = f"UPDATE flow_run SET expected_start_time = {yesterday}, next_scheduled_start_time = {yesterday}"
    asyncio.run(aged(stack, f"{aging} WHERE id = '{late}'", PREFECT_DATABASE))
    start_worker(stack)
    where = f"{stack.url('prefect-server')}/api/flow_runs/{late}"
    eventually(lambda: httpx.get(where).json()["state_type"] == "CANCELLED", 30, "it is not done")


@pytest.mark.full
def test_the_clock_begins_a_run_that_nobody_asked_for(api: httpx.Client, stack: Installation) -> None:
    stack.stop("flow-worker")
    stack.extra |= {"CAPIBARA6_WARM_UP_CRON": "* * * * *", "CAPIBARA6_WARM_UP_MODELS": "qwen_coder"}
    began = datetime.now(UTC).isoformat()
    try:
        start_worker(stack)
        asked = {"kind": "warm-up", "origin": "schedule", "since": began}
        found = eventually(lambda: api.get("/api/runs", params=asked).json()["runs"], 180, "a minute has passed")
        run = ended(api, found[-1]["id"])
        assert run["status"] == "completed", stack.log("flow-worker")
        assert flow_run(stack, run)["auto_scheduled"] and run["links"]["prefect"]
    finally:
        del stack.extra["CAPIBARA6_WARM_UP_CRON"], stack.extra["CAPIBARA6_WARM_UP_MODELS"]
        stack.stop("flow-worker")
        start_worker(stack)
    assert deployment(stack, "warm-up").json()["schedules"] == []


@pytest.mark.full
def test_routing_is_evaluated_and_what_is_past_its_time_is_counted_and_removed(
    api: httpx.Client, stack: Installation
) -> None:
    answered = ask(api, message="¿qué hora es? tokens=1")["run_id"]
    begun = {name: begin(api, name) for name in ("retention", "routing-evaluation")}
    runs = {name: ended(api, run_id) for name, run_id in begun.items()}
    assert {run["status"] for run in runs.values()} == {"completed"}, stack.log("flow-worker")
    assert "dry run" in content(api, runs["retention"], "retention.md")
    routed = json.loads(content(api, runs["routing-evaluation"], "routing-evaluation.json"))
    assert answered in {one["run_id"] for one in routed["questions"]} and routed["figures"]["routed"]
    assert page_of(stack, runs["routing-evaluation"])["routing-evaluation"]

    old = flow_run(stack, api.get(f"/api/runs/{answered}").json())["id"]
    long_ago = "2001-01-01T00:00:00Z"
    shown = runs["routing-evaluation"]["prefect_flow_run_id"]
    aging = f"UPDATE flow_run SET end_time = '{long_ago}' WHERE id IN ('{old}', '{shown}')"
    asyncio.run(aged(stack, aging, PREFECT_DATABASE))
    asyncio.run(aged(stack, f"UPDATE runs SET created_at = '{long_ago}' WHERE id = '{answered}'", OWN_DATABASE))
    counted = json.loads(content(api, ended(api, begin(api, "retention")), "retention.json"))
    assert counted == {"conversations": None, "runs": 1, "files": 0, "prefect flow runs": 2}
    removed = ended(api, begin(api, "retention", dry_run=False))
    assert json.loads(content(api, removed, "retention.json")) == counted
    assert api.get(f"/api/runs/{answered}").status_code == 404
    for flow_run_id in (old, shown):
        assert httpx.get(f"{stack.url('prefect-server')}/api/flow_runs/{flow_run_id}").status_code == 404
    assert artifacts(stack, runs["routing-evaluation"]) == {}


async def aged(stack: Installation, statement: str, name: str) -> None:
    settings = read_settings(stack.home).model_copy(update={"port_offset": stack.offset})
    engine = create_async_engine(database_url(settings, load_secrets(settings), name))
    async with engine.begin() as connection:
        await connection.execute(text(statement))
    await engine.dispose()
