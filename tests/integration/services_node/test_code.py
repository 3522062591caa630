"""Code and files through the chat API, with a fake E2B endpoint behind it."""

from __future__ import annotations

import base64
import json
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from installation import Installation, eventually

CANCELLED = {"cancelled_by_client", "cancelled_in_prefect"}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="


@pytest.fixture
def api(stack: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url("chat-api"), timeout=30) as client:
        yield client


@pytest.fixture
def sandboxes(stack: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url("sandbox-gateway"), timeout=30) as client:
        yield client
        client.post("/watch/fail", json={"status": None})
        client.post("/watch/room", json={"most": 1000})


def run(api: httpx.Client, code: str, **more: Any) -> dict[str, Any]:
    reply = api.post("/api/code/run", json={"code": code, **more})
    assert reply.status_code == 200, reply.text
    return reply.json()


def events(reply: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: ")]


def new_conversation(api: httpx.Client) -> str:
    return api.post("/api/chat", json={"message": "hola"}).json()["conversation_id"]


def test_code_says_what_it_printed_and_its_run_tells_the_same_story(api: httpx.Client) -> None:
    said = run(api, "print(6 * 7)")
    assert said["stdout"] == "42\n" and said["error"] is None and said["execution_count"] == 1
    story = api.get(f"/api/runs/{said['run_id']}").json()
    assert story["kind"] == "code" and story["status"] == "completed"
    assert [step["name"] for step in story["steps"]] == ["open_sandbox", "run_code"]


def test_an_error_of_the_code_is_a_reply_and_a_completed_run(api: httpx.Client) -> None:
    said = run(api, "1 / 0")
    assert said["error"]["name"] == "ZeroDivisionError" and "line 1" in said["error"]["traceback"]
    story = api.get(f"/api/runs/{said['run_id']}").json()
    assert story["status"] == "completed" and story["steps"][-1]["error_code"] == "code_error"


@pytest.mark.parametrize("value", ["\\x00", "\\ud800", "x" * 100_000], ids=["a NUL", "half a pair", "a long text"])
def test_an_error_whose_words_no_database_takes_does_not_fail_its_run(api: httpx.Client, value: str) -> None:
    said = run(api, f"print('kept'); raise ValueError('{value}')")
    assert said["stdout"] == "kept\n" and said["error"]["name"] == "ValueError"
    story = api.get(f"/api/runs/{said['run_id']}").json()
    assert story["status"] == "completed" and story["steps"][-1]["error_detail"].startswith("ValueError: ")


def test_a_file_that_cannot_be_read_is_named_and_the_run_goes_well(api: httpx.Client) -> None:
    code = "print('kept'); (home/'a').write_text('a'); (home/'a').chmod(0); (home/'b').write_text('b')"
    said = run(api, code)
    assert said["stdout"] == "kept\n" and [file["name"] for file in said["files"]] == ["b"]
    (left,) = said["files_left_out"]
    assert left["name"] == "a" and "Permission denied" in left["why"]


def test_an_image_that_is_none_is_left_out_and_the_run_goes_well(api: httpx.Client) -> None:
    said = run(api, "print('kept'); show(png='abc', jpeg=5, text='b', json={'x': float('nan')}, extra=[1])")
    assert said["stdout"] == "kept\n" and said["files"] == []
    assert said["results"][0]["text"] == "b" and said["results"][0]["json"] == {"x": None}


def test_every_call_to_the_sandboxes_carries_the_run_and_its_trace(api: httpx.Client, sandboxes: httpx.Client) -> None:
    conversation = new_conversation(api)
    for _ in ("a new sandbox", "the same one"):
        code = "(home/'made').write_text((home/'given').read_text() + str(__import__('time').time()))"
        given = {"code": code, "files": [{"name": "given", "content": "x"}], "conversation_id": conversation}
        reply = api.post("/api/code/run", json=given)
        run_id, trace = reply.json()["run_id"], reply.headers["traceparent"].split("-")[1]
        calls = [call for call in sandboxes.get("/watch").json()["calls"] if call["run_id"] == run_id]
        made = {call["call"] for call in calls}
        assert {"POST /files", "POST /filesystem.Filesystem/ListDir", "POST /execute", "GET /files"} <= made, calls
        assert made & {"POST /v2/sandboxes", f"POST /sandboxes/{reply.json()['sandbox_id']}/timeout"}
        assert all(call["traceparent"].split("-")[1] == trace for call in calls)


def test_files_go_in_and_what_the_code_made_comes_out(api: httpx.Client) -> None:
    stored = api.post("/api/files", files={"file": ("b.txt", b"dos")}).json()
    code = "text = (home/'a.txt').read_text() + (home/'in/b.txt').read_text(); (home/'sum.csv').write_text(text)"
    given = [{"name": "a.txt", "content": "uno,"}, {"name": "in/b.txt", "file_id": stored["id"]}]
    said = run(api, code, files=given)
    assert [file["name"] for file in said["files"]] == ["sum.csv"], said
    reply = api.get(said["files"][0]["url"])
    assert reply.text == "uno,dos" and reply.headers["content-type"] == "text/csv"
    assert reply.headers["content-disposition"].startswith("attachment")
    story = api.get(f"/api/runs/{said['run_id']}").json()
    assert [file["id"] for file in story["files"]] == [said["files"][0]["id"]]


def test_a_figure_is_a_file_of_the_run_and_its_text_stays_in_place(api: httpx.Client) -> None:
    said = run(api, f"show(png={PIXEL!r}, text='a pixel', chart={{'type': 'pie', 'title': 't', 'elements': []}})")
    (result,) = said["results"]
    assert result["text"] == "a pixel" and result["chart"]["type"] == "pie"
    assert result["files"][0]["form"] == "png" and result["files"][0]["media_type"] == "image/png"
    reply = api.get(result["files"][0]["url"])
    assert reply.content == base64.b64decode(PIXEL) and reply.headers["content-disposition"].startswith("inline")
    assert (
        reply.headers["x-content-type-options"] == "nosniff" and "sandbox" in reply.headers["content-security-policy"]
    )


def test_the_stream_tells_output_results_files_and_the_end(api: httpx.Client) -> None:
    code = "print('a'); show(text='b'); (home/'c.txt').write_text('c'); 1/0"
    with api.stream("POST", "/api/code/run/stream", json={"code": code}) as reply:
        told = events(reply)
    assert [event["type"] for event in told if event["content"] != "\n"] == [
        "start", "stdout", "result", "error", "file", "end",
    ]  # fmt: skip
    assert told[-1]["done"] and told[-1]["stdout"] == "a\n" and told[-1]["error"]["name"] == "ZeroDivisionError"
    assert all("content" in event and "done" in event for event in told)


def test_variables_live_on_in_a_conversation_and_nowhere_else(api: httpx.Client) -> None:
    conversation = new_conversation(api)
    first = run(api, "x = 41", conversation_id=conversation)
    second = run(api, "print(x + 1)", conversation_id=conversation)
    assert second["stdout"] == "42\n" and second["sandbox_id"] == first["sandbox_id"] and second["notice"] is None
    assert run(api, "print(x)")["error"]["name"] == "NameError"


def test_a_conversation_finds_its_sandbox_again_after_the_chat_api_restarted(
    api: httpx.Client, stack: Installation
) -> None:
    conversation = new_conversation(api)
    first = run(api, "x = 41", conversation_id=conversation)
    stack.stop("chat-api", signal.SIGKILL)
    stack.start_chat()
    second = run(api, "print(x + 1)", conversation_id=conversation)
    assert second["stdout"] == "42\n" and second["sandbox_id"] == first["sandbox_id"]
    stack.wait_for_flows()


def test_a_sandbox_that_died_in_between_is_replaced_and_the_reply_says_so(
    api: httpx.Client, sandboxes: httpx.Client
) -> None:
    conversation = new_conversation(api)
    run(api, "x = 41", conversation_id=conversation)
    sandboxes.post("/watch/lose")
    said = run(api, "print(x)", conversation_id=conversation)
    assert said["error"]["name"] == "NameError" and "new one" in said["notice"]


def test_an_unknown_conversation_is_not_found(api: httpx.Client) -> None:
    reply = api.post("/api/code/run", json={"code": "1", "conversation_id": str(uuid.uuid4())})
    assert reply.status_code == 404 and reply.json()["code"] == "conversation_not_found"


def test_a_sandbox_without_a_conversation_is_gone_afterwards(api: httpx.Client, sandboxes: httpx.Client) -> None:
    said = run(api, "1")
    eventually(
        lambda: said["sandbox_id"] not in [one["id"] for one in sandboxes.get("/watch").json()["sandboxes"]],
        5,
        "it is killed",
    )


def test_removing_a_conversation_ends_its_sandbox(api: httpx.Client, sandboxes: httpx.Client) -> None:
    conversation = new_conversation(api)
    said = run(api, "1", conversation_id=conversation)
    assert api.delete(f"/api/conversations/{conversation}").status_code == 204
    eventually(
        lambda: said["sandbox_id"] not in [one["id"] for one in sandboxes.get("/watch").json()["sandboxes"]],
        5,
        "it is killed",
    )


def test_code_that_runs_too_long_is_interrupted_and_told_so(api: httpx.Client, sandboxes: httpx.Client) -> None:
    before = sandboxes.get("/watch").json()["interrupted"]
    said = run(api, "print('begun'); wait(30)", timeout_seconds=1)
    assert said["error"]["name"] == "ExecutionTimeout" and said["stdout"] == "begun\n"
    eventually(lambda: sandboxes.get("/watch").json()["interrupted"] > before, 5, "the code was interrupted")


def test_a_client_that_goes_away_interrupts_its_code_and_cancels_its_run(
    api: httpx.Client, sandboxes: httpx.Client
) -> None:
    before, run_id = sandboxes.get("/watch").json()["interrupted"], str(uuid.uuid4())
    conversation = new_conversation(api)
    with api.stream(
        "POST",
        "/api/code/run/stream",
        json={"code": "print('begun'); wait(30)", "conversation_id": conversation},
        headers={"x-capibara6-run-id": run_id},
    ) as reply:
        next(line for line in reply.iter_lines() if "begun" in line)
    eventually(lambda: sandboxes.get("/watch").json()["interrupted"] > before, 5, "the code was interrupted")
    story = eventually(
        lambda: (found := api.get(f"/api/runs/{run_id}").json())["status"] != "running" and found, 5, "it ended"
    )
    assert story["status"] == "cancelled" and story["error"]["code"] == "client_disconnected"


@pytest.mark.parametrize("way", ["its client goes away", "it is cancelled here", "it is cancelled in Prefect"])
def test_code_that_is_cancelled_is_interrupted_and_its_sandbox_goes(
    api: httpx.Client, sandboxes: httpx.Client, stack: Installation, way: str
) -> None:
    before, run_id = sandboxes.get("/watch").json()["interrupted"], str(uuid.uuid4())
    asked = {"code": "print('begun'); wait(60)"}
    with api.stream("POST", "/api/code/run/stream", json=asked, headers={"x-capibara6-run-id": run_id}) as reply:
        lines = reply.iter_lines()
        started = json.loads(next(line for line in lines if '"start"' in line)[6:])
        next(line for line in lines if "begun" in line)
        if way == "it is cancelled here":
            assert api.post(f"/api/runs/{run_id}/cancel").json()["status"] == "cancelled"
        elif way == "it is cancelled in Prefect":
            cancel_in_prefect(api, stack, run_id)
        if way != "its client goes away":
            assert json.loads([line for line in lines if line][-1][6:])["error"]["code"] in CANCELLED
    eventually(lambda: sandboxes.get("/watch").json()["interrupted"] > before, 20, "the code was interrupted")
    eventually(
        lambda: started["sandbox_id"] not in [one["id"] for one in sandboxes.get("/watch").json()["sandboxes"]],
        5,
        "its sandbox is gone",
    )
    eventually(lambda: api.get(f"/api/runs/{run_id}").json()["status"] == "cancelled", 5, "its run is cancelled")


def cancel_in_prefect(api: httpx.Client, stack: Installation, run_id: str) -> None:
    def flow_run_runs() -> str | None:
        flow_run_id = api.get(f"/api/runs/{run_id}").json()["prefect_flow_run_id"]
        url = f"{stack.url('prefect-server')}/api/flow_runs/{flow_run_id}"
        return url if flow_run_id and httpx.get(url).json()["state_type"] == "RUNNING" else None

    url = eventually(flow_run_runs, 30, "its flow run runs")
    body = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    assert httpx.post(f"{url}/set_state", json=body).status_code == 201


def test_idle_conversations_give_way_and_one_at_work_does_not(api: httpx.Client, sandboxes: httpx.Client) -> None:
    sandboxes.post("/watch/lose")
    at_work, idle = new_conversation(api), new_conversation(api)
    working = {"code": "print('begun'); wait(60)", "conversation_id": at_work}
    with api.stream("POST", "/api/code/run/stream", json=working) as reply:
        lines = reply.iter_lines()  # held: one that is collected closes its reply
        next(line for line in lines if "begun" in line)
        first = run(api, "x = 1", conversation_id=idle)
        sandboxes.post("/watch/room", json={"most": 2})
        before = sandboxes.get("/watch").json()["interrupted"]
        assert run(api, "print(1)")["stdout"] == "1\n"
        assert first["sandbox_id"] not in [one["id"] for one in sandboxes.get("/watch").json()["sandboxes"]]
        assert sandboxes.get("/watch").json()["interrupted"] == before
        sandboxes.post("/watch/room", json={"most": 1})
        refused = api.post("/api/code/run", json={"code": "1"})
        assert refused.status_code == 503 and refused.json()["code"] == "sandboxes_busy"
        sandboxes.post("/watch/room", json={"most": 1000})
        assert "new one" in run(api, "1", conversation_id=idle)["notice"]


def test_a_machine_that_cannot_make_sandboxes_is_not_told_as_busy(api: httpx.Client, sandboxes: httpx.Client) -> None:
    words = "No sandbox can be had here: this machine lacks root"
    sandboxes.post("/watch/fail", json={"status": 503, "words": words})
    reply = api.post("/api/code/run", json={"code": "1"})
    assert reply.status_code == 503 and reply.json()["code"] == "sandboxes_unavailable"
    assert reply.json()["detail"] == words and int(reply.headers["retry-after"]) >= 30


def test_a_file_below_a_file_is_the_callers_fault(api: httpx.Client) -> None:
    files = [{"name": "a", "content": "x"}, {"name": "a/b", "content": "x"}]
    reply = api.post("/api/code/run", json={"code": "1", "files": files})
    assert reply.status_code == 422 and reply.json()["param"] == "files" and reply.json()["code"] == "file_refused"


def test_no_sandbox_to_be_had_is_a_503_and_a_failed_run(api: httpx.Client, sandboxes: httpx.Client) -> None:
    sandboxes.post("/watch/fail", json={"status": 503})
    run_id = str(uuid.uuid4())
    reply = api.post("/api/code/run", json={"code": "1"}, headers={"x-capibara6-run-id": run_id})
    assert reply.status_code == 503 and reply.json()["code"] == "sandboxes_busy" and reply.headers["retry-after"]
    story = api.get(f"/api/runs/{run_id}").json()
    assert story["status"] == "failed" and story["error"]["code"] == "sandboxes_busy"


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", ""])
def test_a_file_name_that_leads_out_of_the_home_is_refused(api: httpx.Client, name: str) -> None:
    reply = api.post("/api/code/run", json={"code": "1", "files": [{"name": name, "content": "x"}]})
    assert reply.status_code == 422 and reply.json()["param"] == "files.0.name"


def test_the_older_clients_execute_answers_in_their_shape(api: httpx.Client) -> None:
    said = api.post("/api/e2b/execute", json={"code": "print('hola')", "language": None, "template": "default"}).json()
    assert said["success"] and said["output"] == ["hola"] and said["errors"] == [] and said["execution_time"] > 0
    said = api.post("/api/e2b/execute", json={"code": "1/0", "language": "Python"}).json()
    assert not said["success"] and said["errors"] == ["ZeroDivisionError: division by zero"]


def test_files_are_listed_served_safely_and_removed(api: httpx.Client, stack: Installation) -> None:
    page = api.post("/api/files", files={"file": ("../../evil.html", b"<script>alert(1)</script>")}).json()
    assert page["name"] == "evil.html"
    reply = api.get(page["url"])
    assert reply.headers["content-type"] == "application/octet-stream"
    assert 'filename="evil.html"' in reply.headers["content-disposition"]
    assert page["id"] in [file["id"] for file in api.get("/api/files").json()["files"]]
    (stored,) = (stack.home / "data" / "files").glob(f"*/{page['id']}")
    assert stored.stat().st_mode & 0o777 == 0o600
    assert api.delete(f"/api/files/{page['id']}").status_code == 204
    assert not stored.exists() and api.get(page["url"]).status_code == 404


def test_a_code_run_is_a_flow_run_of_its_own_kind(api: httpx.Client, stack: Installation) -> None:
    said = run(api, "wait(2)")

    def recorded() -> Any:
        found = api.get(f"/api/runs/{said['run_id']}").json()
        return found if found["prefect_recorded"] else None

    story = eventually(recorded, 20, "it is recorded in Prefect")
    prefect = f"{stack.url('prefect-server')}/api/flow_runs/{story['prefect_flow_run_id']}"
    flow_run = httpx.get(prefect).json()
    assert flow_run["name"] == f"code-{said['run_id']}" and flow_run["state"]["type"] == "COMPLETED"
