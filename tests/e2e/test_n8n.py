"""n8n as `up` leaves it: signed in to without a click, with our workflows, and with whatever the team makes of them."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.n8n_workflows import Workflows
from tests.e2e.stack import Stack, eventually

RUNS_CODE = {
    "name": "Doubled",
    "nodes": [
        {
            "id": "hook", "name": "Webhook", "type": "n8n-nodes-base.webhook", "typeVersion": 2, "position": [0, 0],
            "webhookId": "3a4b1c52-0000-4000-8000-000000000001",
            "parameters": {"httpMethod": "POST", "path": "doubled", "responseMode": "lastNode"},
        },
        {
            "id": "code", "name": "Code", "type": "n8n-nodes-base.code", "typeVersion": 2, "position": [200, 0],
            "parameters": {"jsCode": "return [{json: {number: $json.body.number * 2}}];"},
        },
    ],
    "connections": {"Webhook": {"main": [[{"node": "Code", "type": "main", "index": 0}]]}},
    "settings": {"executionOrder": "v1"},
}  # fmt: skip


def doubled(workflows: Workflows, number: int) -> Any:
    return workflows.answer("doubled", {"number": number})["number"]


@pytest.fixture
def workflows(stack: Stack) -> Iterator[Workflows]:
    made = Workflows(stack)
    yield made
    made.clean()


def test_its_owner_signs_in_with_what_env_tells_and_nobody_else(stack: Stack) -> None:
    told = stack.env()
    url = f"{stack.url('n8n')}/rest/login"
    known = {"emailOrLdapLoginId": told["CAPIBARA6_N8N_EMAIL"], "password": told["CAPIBARA6_N8N_PASSWORD"]}
    assert httpx.post(url, json=known, timeout=30).status_code == 200
    assert httpx.post(url, json=known | {"password": "Another1"}, timeout=30).status_code == 401
    assert httpx.get(f"{stack.url('n8n')}/api/v1/workflows", timeout=30).status_code == 401


def test_a_file_becomes_a_workflow_whose_code_runs_apart_and_a_changed_file_changes_it(workflows: Workflows) -> None:
    workflows.write("doubled", RUNS_CODE)
    workflows.write("broken", "{")
    workflows.write("from-elsewhere", {**RUNS_CODE, "nodes": [{"name": "A", "type": "n8n-nodes-base.unheardOf"}]})
    told = workflows.up()
    assert "broken.json is left out: it is no JSON" in told
    assert "from-elsewhere.json is left out: node 'A' is a 'n8n-nodes-base.unheardOf'" in told
    assert "1 of them new" in told, "the others come in"
    assert doubled(workflows, 21) == 42
    nodes = [{**node} for node in RUNS_CODE["nodes"]]  # type: ignore[union-attr]
    nodes[1] = {**nodes[1], "parameters": {"jsCode": "return [{json: {number: $json.body.number * 3}}];"}}
    workflows.write("doubled", {**RUNS_CODE, "nodes": nodes})
    assert "1 changed" in workflows.up()
    eventually(lambda: doubled(workflows, 21) == 63, 30, "the changed workflow answers")
    assert "new" not in workflows.up(), "and nothing the next time"


def test_what_the_team_changes_stays_theirs(workflows: Workflows) -> None:
    workflows.write("doubled", RUNS_CODE)
    workflows.up()
    held = workflows.held("doubled")
    held["nodes"][1]["parameters"]["jsCode"] = "return [{json: {number: 7}}];"
    ours = {key: held[key] for key in ("name", "nodes", "connections", "settings")}
    workflows.api.put("/api/v1/workflows/capibara6-doubled", json=ours).raise_for_status()
    workflows.write("doubled", {**RUNS_CODE, "connections": {}})
    assert "'Doubled' was changed here and is left as it is" in workflows.up()
    assert workflows.held("doubled")["nodes"][1]["parameters"]["jsCode"] == "return [{json: {number: 7}}];"


def test_a_workflow_reaches_no_private_address_but_the_nodes(workflows: Workflows) -> None:
    """The listener is on this machine, on an address that is no node's."""
    request = {
        "id": "request", "name": "Request", "type": "n8n-nodes-base.httpRequest", "typeVersion": 4.2,
        "position": [200, 0], "onError": "continueRegularOutput",
        "parameters": {"url": "={{ $json.body.url }}", "options": {"timeout": 5000}},
    }  # fmt: skip
    connections = {"Webhook": {"main": [[{"node": "Request", "type": "main", "index": 0}]]}}
    workflows.write("doubled", {**RUNS_CODE, "nodes": [RUNS_CODE["nodes"][0], request], "connections": connections})
    workflows.up()
    with socket.create_server(("127.0.0.9", 0)) as listener:
        listener.settimeout(1)
        refused = workflows.answer("doubled", {"url": f"http://127.0.0.9:{listener.getsockname()[1]}/"})
        assert "127.0.0.9" in json.dumps(refused) or "blocked" in json.dumps(refused).lower(), refused
        with pytest.raises(TimeoutError):
            listener.accept()
    reached = workflows.answer("doubled", {"url": f"{workflows.stack.url('chat-api')}/health/live"})
    assert "error" not in reached, reached


def test_it_is_given_none_of_our_variables_and_the_runner_no_key(stack: Stack) -> None:
    status = stack.status()
    secrets = json.loads((stack.home / "secrets.json").read_text(encoding="utf-8"))
    n8n = _environment(status["n8n"]["pid"])
    runner = _environment(status["n8n-runner"]["pid"])
    assert {name for name in n8n if name.startswith("CAPIBARA6_")} <= {"CAPIBARA6_STACK_ID", "CAPIBARA6_SERVICE"}
    assert not [name for name, value in secrets.items() if value in runner.values()]


def _environment(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(line.decode().split("=", 1) for line in lines if b"=" in line)
