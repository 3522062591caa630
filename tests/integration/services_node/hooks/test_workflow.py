"""The flow `workflow`, on a server that answers as n8n does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from history_house import faulty
from installation import Installation, eventually

ENDED = {"completed", "failed", "cancelled", "crashed"}
ANSWERS = {
    "/webhook/lead/new": (200, "application/json", b'{"score": 7}'),
    "/webhook/broken": (500, "application/json", b'{"message": "Error in workflow"}'),
    "/webhook/page": (200, "text/html", b"<html>"),
}


class StandIn:
    """asked: path, headers, body."""

    def __init__(self, port: int) -> None:
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.open = threading.Event()
        asked, open_ = self.asked, self.open

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked.append((self.path, headers, json.loads(body)))
                if self.path == "/webhook/slow":
                    open_.wait(30)
                known = ANSWERS.get(self.path, (404, "application/json", b'{"message": "not registered"}'))
                status, kind, said = known
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                return

        ThreadingHTTPServer.allow_reuse_address = True
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.open.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def n8n(stack: Installation) -> Iterator[StandIn]:
    made = StandIn(stack.port("n8n"))
    yield made
    made.close()


def run_of(api: httpx.Client, **parameters: Any) -> dict[str, Any]:
    reply = api.post("/api/flows/workflow/runs", json={"parameters": parameters})
    assert reply.status_code == 202, reply.text
    where = reply.json()["status_url"]
    found = eventually(lambda: (run := api.get(where).json())["status"] in ENDED and run, 30, "the run ended")
    assert found
    return found


def test_a_workflows_answer_is_the_runs(api: httpx.Client, n8n: StandIn) -> None:
    run = run_of(api, path="/lead/new", body={"name": "Ana"})
    assert run["status"] == "completed" and run["kind"] == "workflow" and run["origin"] == "api"
    assert json.loads(run["response"]) == {"score": 7} and [one["name"] for one in run["files"]] == ["answer.json"]
    assert api.get(run["files"][0]["url"]).json() == {"score": 7}
    ((path, headers, body),) = n8n.asked
    assert path == "/webhook/lead/new" and body == {"name": "Ana"}
    assert headers["x-capibara6-run-id"] == headers["x-capibara6-parent-run-id"] == run["id"]
    assert headers["traceparent"].split("-")[1] == run["trace_id"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"path": "nobody"}, "workflow_not_found"),
        ({"path": "broken"}, "workflow_failed"),
        ({"path": "page"}, "workflow_answer_not_json"),
        ({"path": "slow", "timeout_seconds": 3}, "n8n_timeout"),
    ],
)
def test_trouble_of_a_workflow_is_the_runs_error(
    api: httpx.Client, n8n: StandIn, asked: dict[str, Any], code: str
) -> None:
    run = run_of(api, **asked)
    assert run["status"] == "failed" and run["error"]["code"] == code and len(n8n.asked) == 1
    assert run["response"] is None


def test_n8n_that_is_away_is_told_as_that(api: httpx.Client) -> None:
    run = run_of(api, path="lead/new")
    assert run["status"] == "failed" and run["error"]["code"] == "n8n_unreachable"


def test_a_workflow_can_be_cancelled(api: httpx.Client, n8n: StandIn) -> None:
    reply = api.post("/api/flows/workflow/runs", json={"parameters": {"path": "slow"}})
    eventually(lambda: n8n.asked, 10, "n8n was asked")
    parent = {"x-capibara6-parent-run-id": reply.json()["run_id"]}
    asked = {"parameters": {"message": "hola first=300", "tools": False}}
    child = api.post("/api/flows/chat/runs", json=asked, headers=parent).json()["status_url"]
    eventually(lambda: api.get(child).json()["status"] == "running", 10, "what the workflow asks for is under way")
    run = api.post(f"{reply.json()['status_url']}/cancel").json()
    assert run["status"] == "cancelled" and run["error"]["code"] == "cancelled_by_client"
    of_it = eventually(
        lambda: (one := api.get(child).json())["ended_at"] and one, 10, "it is cancelled with its parent"
    )
    assert of_it and of_it["status"] == "cancelled" and of_it["error"]["code"] == "parent_cancelled"
    for path, body in (("/api/flows/chat/runs", asked), ("/api/chat", {"message": "hola"})):
        assert faulty(api.post(path, json=body, headers=parent), 409, code="parent_cancelled")


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({}, "path"),
        ({"path": ""}, "path"),
        ({"path": "../rest/login"}, "path"),
        ({"path": "a?b=c"}, "path"),
        ({"path": "a//b"}, "path"),
        ({"path": "http:%2f%2fhost"}, "path"),
        ({"path": "a", "timeout_seconds": 0}, "timeout_seconds"),
        ({"path": "a", "timeout_seconds": 1e6}, "timeout_seconds"),
        ({"path": "a", "body": {"half": "\ud800"}}, "body"),
    ],
)
def test_what_is_no_webhooks_path_is_refused(api: httpx.Client, parameters: Any, param: str) -> None:
    content = json.dumps({"parameters": parameters})
    reply = api.post("/api/flows/workflow/runs", content=content, headers={"content-type": "application/json"})
    faulty(reply, 422, f"parameters.{param}")
