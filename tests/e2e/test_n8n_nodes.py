"""Our own nodes in the real n8n: a chat, a run that is waited for, and runs that start a workflow."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from n8n.api import COOKIE
from tests.e2e.n8n_workflows import Workflows
from tests.e2e.stack import MODEL_SECONDS, Stack, eventually
from wire.webhooks import signed_headers

NODE = "n8n-nodes-capibara6.capibara6"
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can make users and cgroups for sandboxes")
CREDENTIAL = {"capibara6Api": {"id": "?", "name": "Capibara6 API"}}


def webhook(path: str) -> dict[str, Any]:
    parameters = {"httpMethod": "POST", "path": path, "responseMode": "lastNode", "responseData": "firstEntryJson"}
    return {"name": "Webhook", "type": "n8n-nodes-base.webhook", "typeVersion": 2, "parameters": parameters}


AT_ONCE = {"parameters": {"httpMethod": "POST", "path": "e2e-loop", "responseMode": "onReceived"}}


def ours(**parameters: Any) -> dict[str, Any]:
    return {"name": "Capibara6", "type": NODE, "typeVersion": 1, "parameters": parameters, "credentials": CREDENTIAL}


def workflow(name: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    placed = [
        {"id": f"{name}-{place}", "webhookId": f"e2e-{name}-{place}", "position": [200 * place, 0], **node}
        for place, node in enumerate(nodes)
    ]
    connections = {
        one["name"]: {"main": [[{"node": other["name"], "type": "main", "index": 0}]]}
        for one, other in itertools.pairwise(placed)
    }
    return {"name": name, "nodes": placed, "connections": connections, "settings": {"executionOrder": "v1"}}


@pytest.fixture(scope="module")
def workflows(installed: Stack) -> Iterator[Workflows]:
    """All of this file's, brought in at once."""
    made = Workflows(installed)
    chat = ours(
        resource="chat", operation="send", message="={{ $json.body.message }}", tools="none", options={"maxTokens": 8}
    )
    made.write("e2e-chat", workflow("e2e-chat", webhook("e2e-chat"), chat))
    code = ours(
        resource="flow",
        operation="startAndWait",
        flow={"__rl": True, "mode": "id", "value": "code"},
        parameters="={{ JSON.stringify({ code: $json.body.code }) }}",
        waitBy="callback",
        waitMinutes=5,
    )
    noted = {
        "name": "Noted", "type": "n8n-nodes-base.code", "typeVersion": 2,
        "parameters": {"jsCode": "return [{json: {...$json, seen: `${$json.kind} ${$json.status}`}}];"},
    }  # fmt: skip
    made.write("e2e-wait", workflow("e2e-wait", webhook("e2e-wait"), code, noted))
    turns = {
        "name": "Turns", "type": "n8n-nodes-base.code", "typeVersion": 2,
        "parameters": {"jsCode": "return $json.body.codes.map((code) => ({json: {body: {code}}}));"},
    }  # fmt: skip
    loop = {"name": "Loop", "type": "n8n-nodes-base.splitInBatches", "typeVersion": 3, "parameters": {}}
    looped = workflow("e2e-loop", webhook("e2e-loop") | AT_ONCE, turns, loop, code)
    looped["connections"]["Loop"] = {"main": [[], [{"node": "Capibara6", "type": "main", "index": 0}]]}
    looped["connections"]["Capibara6"] = {"main": [[{"node": "Loop", "type": "main", "index": 0}]]}
    made.write("e2e-loop", looped)
    wrong = ours(
        resource="flow",
        operation="start",
        flow={"__rl": True, "mode": "id", "value": "code"},
        parameters='{"language": "cobol"}',
    ) | {"onError": "continueRegularOutput"}
    made.write("e2e-wrong", workflow("e2e-wrong", webhook("e2e-wrong"), wrong))
    trigger = {
        "name": "Ended", "type": "n8n-nodes-capibara6.capibara6Trigger", "typeVersion": 1, "credentials": CREDENTIAL,
        "parameters": {"events": ["run.completed"], "kinds": ["chat"]},
    }  # fmt: skip
    nothing = {"name": "Nothing", "type": "n8n-nodes-base.noOp", "typeVersion": 1, "parameters": {}}
    made.write("e2e-trigger", workflow("e2e-trigger", trigger, nothing))
    told = made.up()
    assert "5 of them new" in told, told
    yield made
    made.clean()


def test_a_chat_by_our_node_is_a_run_that_tells_its_execution_with_links_both_ways(
    stack: Stack, workflows: Workflows
) -> None:
    said = workflows.answer("e2e-chat", {"message": "Name a colour."}, MODEL_SECONDS)
    assert said["response"].strip()
    story = stack.run_story(said["run_id"])
    [execution] = workflows.executions("e2e-chat")
    assert story["origin"] == "n8n"
    assert story["n8n"] == {"execution_id": str(execution["id"]), "workflow_id": "capibara6-e2e-chat"}
    assert story["links"]["n8n"] == f"{stack.url('n8n')}/workflow/capibara6-e2e-chat/executions/{execution['id']}"
    listed = stack.get("chat-api", "/api/runs?origin=n8n&limit=5")["runs"]
    assert said["run_id"] in {run["id"] for run in listed}
    shown = stack.ok("run", "show", said["run_id"]).stdout
    assert f"execution {execution['id']}" in shown


@as_root
def test_an_execution_waits_for_a_run_without_a_connection_and_goes_on_when_it_is_called(
    stack: Stack, workflows: Workflows
) -> None:
    workflows.answer("e2e-wait", {"code": "print(6 * 7)"})
    went_on(stack, workflows, 1)


@as_root
def test_a_call_that_comes_twice_does_not_end_the_next_turn_of_a_loop(stack: Stack, workflows: Workflows) -> None:
    def of_loop() -> list[dict[str, Any]]:
        runs = stack.get("chat-api", "/api/runs?origin=n8n&kind=code&limit=50")["runs"]
        return [run for run in reversed(runs) if run["n8n"]["workflow_id"] == "capibara6-e2e-loop"]

    known = [run["id"] for run in of_loop()]
    workflows.answer("e2e-loop", {"codes": ["print('one')", "import time; time.sleep(25); print('two')"]})

    def begun() -> list[dict[str, Any]]:
        """Runs of the execution, oldest first."""
        return [run for run in of_loop() if run["id"] not in known]

    first, second = eventually(lambda: len(runs := begun()) == 2 and runs, 60, "the second turn has begun")
    story = eventually(
        lambda: (s := stack.run_story(first["id"]))["callback"]["state"] == "delivered" and s, 10, "the first is told"
    )
    asked = {"workflowId": "capibara6-e2e-loop", "status": "waiting"}
    eventually(
        lambda: workflows.api.get("/api/v1/executions", params=asked).json()["data"], 10, "the second turn waits"
    )
    body = json.dumps({"type": "run.completed", "data": {"run": {"id": first["id"]}}}).encode()
    secret = stack.get("chat-api", "/api/hooks/secret")["secret"]
    headers = signed_headers(secret, "msg-again", int(time.time()), body) | {"content-type": "application/json"}

    def called(**changed: str) -> httpx.Response:
        return httpx.post(story["callback"]["url"], content=body, headers=headers | changed, timeout=30)

    again = called()
    assert (again.status_code, again.json()) == (200, {"ignored": "another run is waited for"})
    assert called(**{"webhook-id": "msg-forged"}).status_code == 401, "the signature is of another id"
    old = signed_headers(secret, "msg-old", int(time.time()) - 600, body)
    assert called(**old).status_code == 401, "ten minutes old"
    nobodys = httpx.URL(story["callback"]["url"]).copy_set_param("signature", "0" * 64)
    assert httpx.post(nobodys, content=body, headers=headers, timeout=30).status_code == 401
    assert stack.run_story(second["id"])["status"] == "running"
    [execution] = eventually(lambda: workflows.executions("e2e-loop"), 60, "the execution has ended")
    assert execution["status"] == "success", execution
    turns = execution["data"]["resultData"]["runData"]["Capibara6"]
    told = [turn["data"]["main"][0][0]["json"] for turn in turns]
    assert [(run["id"], run["status"]) for run in told] == [(first["id"], "completed"), (second["id"], "completed")]


@as_root
def test_a_killed_n8n_comes_back_and_what_waited_goes_on(stack: Stack, workflows: Workflows) -> None:
    before = len(workflows.executions("e2e-wait"))
    workflows.answer("e2e-wait", {"code": "import time; time.sleep(3)"})
    killed = stack.status()["n8n"]["pid"]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: stack.status()["n8n"]["pid"] not in (None, killed), 60, "n8n is started again")
    eventually(stack.answers, 120, "everything is ready")
    went_on(stack, workflows, before + 1)


def went_on(stack: Stack, workflows: Workflows, count: int) -> None:
    """The newest execution has waited for its run, was called, and its code has run after that."""
    execution = eventually(
        lambda: len(found := workflows.executions("e2e-wait")) == count and found[0], 120, "the execution has ended"
    )
    assert execution["status"] == "success", execution
    runs = execution["data"]["resultData"]["runData"]
    [[item]] = runs["Noted"][-1]["data"]["main"]
    run = item["json"]
    assert (run["status"], run["kind"], run["timed_out"]) == ("completed", "code", False)
    assert run["seen"] == "code completed"
    story = stack.run_story(run["run_id"])
    assert story["callback"]["state"] == "delivered"
    assert story["n8n"]["execution_id"] == str(execution["id"])


def test_a_flow_calls_a_workflow_and_takes_its_answer_and_both_are_one_story(
    stack: Stack, workflows: Workflows
) -> None:
    asked = {"parameters": {"path": "e2e-chat", "body": {"message": "Name a colour."}}}
    chat_api = stack.url("chat-api")
    begun = httpx.post(f"{chat_api}/api/flows/workflow/runs", json=asked, timeout=30)
    assert begun.status_code == 202, begun.text
    run_id = begun.json()["run_id"]
    story = eventually(
        lambda: (s := stack.run_story(run_id))["ended_at"] and s, MODEL_SECONDS, "the workflow has answered"
    )
    assert story["status"] == "completed", story
    answer = next(file for file in story["files"] if file["name"] == "answer.json")
    said = httpx.get(f"{chat_api}{answer['url']}", timeout=30).json()
    assert said["response"].strip()
    [child] = story["children"]
    assert child["id"] == said["run_id"]
    assert story["n8n"] == child["n8n"] and story["links"]["n8n"]
    nowhere = httpx.post(
        f"{chat_api}/api/flows/workflow/runs", json={"parameters": {"path": "e2e-nowhere"}}, timeout=30
    ).json()
    failed = eventually(lambda: (s := stack.run_story(nowhere["run_id"]))["ended_at"] and s, 60, "it has failed")
    assert failed["status"] == "failed"
    assert "e2e-nowhere" in str(failed["error"])


def test_the_test_button_of_the_credential_tells_a_good_one_from_a_wrong_one(stack: Stack) -> None:
    """As n8n's page does when it is pressed."""
    session = (stack.home / "n8n" / "session").read_text(encoding="ascii").strip()
    data = {"baseUrl": stack.url("chat-api"), "apiKey": "", "signingSecret": "", "modelServerUrl": ""}

    def pressed(**changed: str) -> dict[str, Any]:
        asked = {"credentials": {"id": "", "name": "tried", "type": "capibara6Api", "data": data | changed}}
        reply = httpx.post(
            f"{stack.url('n8n')}/rest/credentials/test", json=asked, cookies={COOKIE: session}, timeout=30
        )
        told: dict[str, Any] = reply.json()["data"]
        return told

    assert pressed()["status"] == "OK"
    assert pressed(baseUrl=stack.url("tts-server") + "/nowhere")["status"] == "Error"
    assert pressed(baseUrl="http://127.0.0.1:9")["status"] == "Error"


def test_wrong_parameters_are_named_in_n8n(workflows: Workflows) -> None:
    told = workflows.answer("e2e-wrong", {})
    assert "code" in f"{told['error']} {told.get('hint')}"


def test_a_run_that_ends_starts_a_workflow_and_a_workflow_that_is_removed_is_told_no_more(
    stack: Stack, workflows: Workflows
) -> None:
    hooks = stack.get("chat-api", "/api/hooks")["hooks"]
    [hook] = [one for one in hooks if "e2e-trigger" in one["url"]]
    assert (hook["events"], hook["kinds"]) == (["run.completed"], ["chat"])
    reply = httpx.post(
        f"{stack.url('chat-api')}/api/chat", json={"message": "Hello", "max_tokens": 4}, timeout=MODEL_SECONDS
    )
    run_id = reply.json()["run_id"]

    def started() -> list[Any]:
        found = [one["data"]["resultData"]["runData"]["Ended"][0]["data"]["main"] for one in _of_trigger(workflows)]
        return [item for [[item]] in found if run_id in str(item["json"])]

    eventually(started, 60, "the run's end has started the workflow")
    body = json.dumps({"type": "run.completed", "data": {"run": {"id": run_id}}}).encode()
    forged = signed_headers("whsec_" + "A" * 44, "msg-forged", int(time.time()), body)
    for headers in (forged, {}):
        assert httpx.post(hook["url"], content=body, headers=headers, timeout=30).status_code == 401
    assert len(started()) == 1
    workflows.api.post("/api/v1/workflows/capibara6-e2e-trigger/deactivate").raise_for_status()
    gone = f"/api/hooks/{hook['id']}"
    eventually(
        lambda: httpx.get(f"{stack.url('chat-api')}{gone}", timeout=30).status_code == 404, 30, "the hook is removed"
    )


def _of_trigger(workflows: Workflows) -> list[dict[str, Any]]:
    return workflows.executions("e2e-trigger")
