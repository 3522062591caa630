"""Each workflow of n8n/workflows, executed by n8n itself against the whole stack. What models say is not looked at."""

from __future__ import annotations

import io
import json
import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import av
import httpx
import pytest

from n8n.bootstrap import made_credentials
from tests.e2e.scripted import answering_models, hearing
from tests.e2e.stack import MODEL_SECONDS, Stack, eventually

LEAD = {"name": "Ana Ruiz", "email": "ana@example.org", "company": "Río SL", "message": "20 seats before March."}
SANDBOXES = pytest.mark.skipif(os.getuid() != 0, reason="only root can make users and cgroups for sandboxes")
Json = dict[str, Any]
NAME = "Capibara6 API"  # the credential of our nodes
MCP_OFFSET = 700  # of a second MCP server, beside the stack's


class Workflows:
    """The webhooks of the stack's n8n, and its public API."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        key = (stack.home / "n8n" / "api-key").read_text(encoding="ascii").strip()
        self.api = httpx.Client(base_url=stack.url("n8n"), headers={"x-n8n-api-key": key}, timeout=30)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A workflow's answer, once its webhook listens: activating goes on behind `up`."""
        url = f"{self.stack.url('n8n')}/webhook/{path}"
        return eventually(
            lambda: (
                "not registered" not in (r := httpx.request(method, url, timeout=MODEL_SECONDS, **options)).text and r
            ),
            90,
            f"{path} listens",
        )

    def post(self, path: str, body: Any) -> tuple[int, Json]:
        reply = self.ask("POST", f"capibara6/{path}", json=body)
        return reply.status_code, reply.json()

    def given(self, execution: str, node: str) -> Json:
        """What a node of an execution has given."""
        told = self.api.get(f"/api/v1/executions/{execution}", params={"includeData": True}).json()
        [[item]] = told["data"]["resultData"]["runData"][node][-1]["data"]["main"]
        found: Json = item["json"]
        return found

    def status_of(self, execution: str, seconds: float = 30) -> str:
        """n8n's own word on an execution that has ended."""

        def ended() -> str:
            told = self.api.get(f"/api/v1/executions/{execution}").json()
            return str(told["status"]) if told.get("finished") or told.get("status") in ("error", "crashed") else ""

        return eventually(ended, seconds, f"execution {execution} ends")

    @contextmanager
    def copy_of(self, name: str, path: str, change: Callable[[Json], None], tool: Json | None = None) -> Iterator[None]:
        """Another workflow made from one of ours, as a team would, whose webhook has this path. tool: a node below
        its agent.
        """
        held = self.api.get(f"/api/v1/workflows/capibara6-{name}").json()
        for node in held["nodes"]:
            if node["type"].endswith(".webhook"):
                node["parameters"]["path"], node["webhookId"] = path, str(uuid.uuid4())
            change(node)
        if tool is not None:
            held["nodes"].append({"id": str(uuid.uuid4()), "position": [700, 420], **tool})
            held["connections"][tool["name"]] = {"ai_tool": [[{"node": "Agent", "type": "ai_tool", "index": 0}]]}
        body = {key: held[key] for key in ("nodes", "connections")}
        body |= {"name": path, "settings": {"executionOrder": "v1"}}
        made = self.api.post("/api/v1/workflows", json=body)
        made.raise_for_status()
        where = f"/api/v1/workflows/{made.json()['id']}"
        try:
            self.api.post(f"{where}/activate").raise_for_status()
            yield
        finally:
            eventually(lambda: self._gone(where), 20, f"workflow {path} is removed")

    def _gone(self, where: str) -> bool:
        self.api.post(f"{where}/deactivate")
        return self.api.delete(where).status_code in (200, 404)


@pytest.fixture
def workflows(stack: Stack) -> Iterator[Workflows]:
    made = Workflows(stack)
    yield made
    made.api.close()


def seconds_of(audio: bytes) -> float:
    """Of what a decoder makes of it. Raises av's error for what is no audio."""
    with av.open(io.BytesIO(audio)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def test_chat_answers_goes_on_and_leads_from_its_run_to_its_execution(stack: Stack, workflows: Workflows) -> None:
    status, told = workflows.post("chat", {"message": "Hello", "model": "phi4_fast", "max_tokens": 8})
    assert status == 200, told
    assert isinstance(told["answer"], str)
    again = {"message": "And now?", "max_tokens": 8, "conversation_id": told["conversation_id"]}
    assert workflows.post("chat", again)[1]["conversation_id"] == told["conversation_id"]
    story = stack.run_story(told["run_id"])
    assert story["origin"] == "n8n"
    assert story["n8n"] == {"execution_id": told["execution_id"], "workflow_id": "capibara6-chat"}
    assert story["links"]["n8n"].endswith(f"/workflow/capibara6-chat/executions/{told['execution_id']}")
    assert workflows.status_of(told["execution_id"]) == "success"


def test_a_run_that_begins_a_workflow_has_what_that_asks_for_as_its_child(stack: Stack, workflows: Workflows) -> None:
    parameters = {"path": "capibara6/chat", "body": {"message": "Hello", "max_tokens": 8}}
    begun = httpx.post(
        f"{stack.url('chat-api')}/api/flows/workflow/runs", json={"parameters": parameters}, timeout=30
    ).json()
    story = eventually(
        lambda: (s := stack.run_story(begun["run_id"]))["ended_at"] and s, MODEL_SECONDS, "the workflow has answered"
    )
    assert story["status"] == "completed", story
    told = json.loads(story["response"])
    [child] = story["children"]
    assert child["id"] == told["run_id"]
    assert story["n8n"] == {"execution_id": told["execution_id"], "workflow_id": "capibara6-chat"}


@pytest.mark.parametrize("body", [{}, {"message": "  "}, {"message": 7}, ["Hello"]])
def test_chat_without_a_message_is_400(workflows: Workflows, body: Any) -> None:
    status, told = workflows.post("chat", body)
    assert (status, told["code"], told["param"]) == (400, "missing_field", "message")


def test_what_the_chat_api_refuses_is_told_in_its_own_words(workflows: Workflows) -> None:
    status, told = workflows.post("chat", {"message": "Hello", "conversation_id": "x"})
    assert (status, told["code"], told["param"]) == (422, "invalid_field", "conversation_id")


@pytest.mark.parametrize(("fault", "answer"), [("away", (502, "unreachable")), ("slow", (504, "no_answer_in_time"))])
def test_a_chat_api_that_is_away_or_slow_has_its_status(
    workflows: Workflows, fault: str, answer: tuple[int, str]
) -> None:
    def change(node: Json) -> None:
        if node["name"] == "Ask the assistant":
            if fault == "away":
                node["parameters"]["url"] = "http://127.0.0.1:9/api/chat"
            else:
                node["parameters"]["options"]["timeout"] = 1

    with workflows.copy_of("chat", f"chat-{fault}", change):
        reply = workflows.ask("POST", f"chat-{fault}", json={"message": "Hello", "max_tokens": 4})
    assert (reply.status_code, reply.json()["code"]) == answer


def test_a_lead_is_kept_summed_up_and_titled(stack: Stack, workflows: Workflows) -> None:
    status, told = workflows.post("leads", LEAD)
    assert status == 201, told
    assert told["summary"]
    kept = stack.get("chat-api", f"/api/files/{told['lead_id']}/content")
    assert {key: kept[key] for key in LEAD} == LEAD
    assert stack.get("chat-api", f"/api/conversations/{told['conversation_id']}")["title"] == "Lead: Ana Ruiz (Río SL)"
    assert stack.run_story(told["run_id"])["origin"] == "n8n"


def test_a_wrong_lead_is_told_every_fault(workflows: Workflows) -> None:
    status, told = workflows.post("leads", {"name": 3, "email": "ana"})
    assert (status, told["code"]) == (400, "invalid_lead")
    assert {one["field"] for one in told["errors"]} == {"name", "email", "message"}


def test_a_lead_is_kept_when_no_model_answers(stack: Stack, workflows: Workflows) -> None:
    def change(node: Json) -> None:
        if node["name"] == "Write a summary":
            node["parameters"]["url"] = "http://127.0.0.1:9/api/chat"

    with workflows.copy_of("leads", "leads-alone", change):
        reply = workflows.ask("POST", "leads-alone", json=LEAD)
    told = reply.json()
    assert (reply.status_code, told["summary"], told["summary_error"]["code"]) == (201, None, "unreachable")
    assert stack.get("chat-api", f"/api/files/{told['lead_id']}/content")["email"] == LEAD["email"]


def test_exchanges_of_other_channels_are_kept_and_the_digest_tells_of_them(stack: Stack, workflows: Workflows) -> None:
    status, logged = workflows.post("log", {"user": "Open on Sunday?", "assistant": "No.", "channel": "web"})
    assert status == 201, logged
    kept = stack.get("chat-api", f"/api/files/{logged['file_id']}/content")
    assert (kept["user"], kept["assistant"], kept["channel"]) == ("Open on Sunday?", "No.", "web")
    assert workflows.post("log", {"user": "Open?", "assistant": 4})[0] == 400
    if "digest" not in {flow["name"] for flow in stack.get("chat-api", "/api/flows")["flows"]}:
        pytest.skip("this installation has no flow `digest`")
    day = logged["name"].removeprefix("exchange-")[:10]
    # Without waiting on the connection: a slow machine takes longer than a connection without an answer lasts.
    status, begun = workflows.post("digest", {"day": day, "wait": False})
    assert status == 202, begun
    assert workflows.status_of(begun["execution_id"], MODEL_SECONDS) == "success"
    told = workflows.given(begun["execution_id"], "Put together")
    assert told["day"] == day
    assert told["exchanges"] >= 1
    assert logged["name"] in told["text"]
    assert stack.run_story(begun["run_id"])["status"] == "completed"
    status, wrong = workflows.post("digest", {"day": "the day before"})
    assert status in (422, 502), wrong


def test_a_flow_begins_a_workflow_and_keeps_its_answer(stack: Stack, workflows: Workflows) -> None:
    exchange = {"user": "Open?", "assistant": "Yes."}
    asked = {"parameters": {"path": "capibara6/log", "body": exchange}}
    begun = httpx.post(f"{stack.url('chat-api')}/api/flows/workflow/runs", json=asked, timeout=30)
    assert begun.status_code == 202, begun.text
    story = eventually(
        lambda: (told := stack.run_story(begun.json()["run_id"]))["status"] not in ("queued", "running") and told,
        60,
        "the workflow answers",
    )
    assert story["status"] == "completed", story["error"]
    assert json.loads(story["response"])["name"].startswith("exchange-")
    assert workflows.status_of(json.loads(story["response"])["execution_id"]) == "success"


def test_models_are_asked_side_by_side_and_their_agreement_is_computed(stack: Stack, workflows: Workflows) -> None:
    asked = {"question": "Is a tomato a fruit?", "models": ["phi4_fast", "qwen_coder"], "max_tokens": 16}
    status, told = workflows.post("consensus", asked)
    assert status == 200, told
    assert [one["model"] for one in told["answers"]] == asked["models"]
    assert {stack.run_story(one["run_id"])["model"] for one in told["answers"]} == set(asked["models"])
    agreement = told["agreement"]
    assert 0 <= agreement["value"] <= 1
    assert agreement["pairs"] == [{"models": asked["models"], "likeness": agreement["value"]}]
    assert told["closest"]["model"] in asked["models"]
    assert told["merged"]["run_id"]
    status, wrong = workflows.post("consensus", {**asked, "models": ["phi4_fast", "nobody"]})
    assert (status, wrong["code"], wrong["param"]) == (400, "model_not_found", "models")
    assert workflows.post("consensus", {})[0] == 400


def test_health_is_that_of_every_service(workflows: Workflows) -> None:
    reply = workflows.ask("GET", "capibara6/health")
    told = reply.json()
    assert {"chat-api", "model-server", "mcp-server", "tts-server", "n8n"} <= {one["name"] for one in told["services"]}
    assert (reply.status_code == 200) == (told["status"] == "healthy") == (told["failing"] == [])


def test_an_alert_is_told_once_and_again_when_all_is_well(workflows: Workflows) -> None:
    gone = {"name": "gone", "node": "services", "url": "http://127.0.0.1:9/health/ready"}
    with hearing() as (url, heard):

        def change(node: Json) -> None:
            if node["name"] == "Settings":
                node["parameters"]["jsonOutput"] = json.dumps({"alert_url": url, "seconds_for_an_answer": 2})
            if node["name"] == "Services":
                node["parameters"]["jsonOutput"] = json.dumps({"services": [gone]})

        with workflows.copy_of("health", "health-alerts", change):
            first = workflows.ask("GET", "health-alerts")
            assert (first.status_code, first.json()["failing"]) == (503, ["gone"])
            assert workflows.status_of(first.json()["execution_id"]) == "success"
            workflows.ask("GET", "health-alerts")
    assert [one["failing"] for one in heard] == [["gone"]]
    assert "gone on services" in heard[0]["text"]


def test_a_text_becomes_audio(workflows: Workflows) -> None:
    reply = workflows.ask("POST", "capibara6/speak", json={"text": "Hola, buenos días.", "format": "wav"})
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("audio/")
    assert seconds_of(reply.content) > 0.5
    assert workflows.post("speak", {"text": " "})[0] == 400
    status, wrong = workflows.post("speak", {"text": "Hola", "voice": "nobody"})
    assert status == 400
    assert "nobody" in json.dumps(wrong)


def test_a_document_is_spoken_behind_a_callback_and_fetched(stack: Stack, workflows: Workflows) -> None:
    document = {"file": ("report.md", b"# Informe\n\nHola. Un informe corto.\n", "text/markdown")}
    begun = workflows.ask("POST", "capibara6/document", files=document)
    told = begun.json()
    assert begun.status_code == 202, told
    where = {"run_id": told["run_id"]}
    states: set[int] = set()

    def audio() -> httpx.Response | None:
        reply = workflows.ask("GET", "capibara6/document", params=where)
        states.add(reply.status_code)
        return reply if reply.status_code != 202 else None

    done = eventually(audio, 120, "the document is spoken")
    assert done.status_code == 200, done.text
    assert states <= {200, 202}
    assert seconds_of(done.content) > 0.5
    assert workflows.status_of(told["execution_id"]) == "success", "the callback woke it"
    assert stack.run_story(told["run_id"])["callback"]["state"] == "delivered"
    assert workflows.ask("POST", "capibara6/document").status_code == 400
    assert workflows.ask("GET", "capibara6/document", params={"run_id": str(uuid.uuid4())}).status_code == 404


@SANDBOXES
def test_a_code_job_is_waited_for_and_answers_with_what_it_printed(stack: Stack, workflows: Workflows) -> None:
    status, told = workflows.post("code-job", {"code": "print(6 * 7)\nopen('a.txt', 'w').write('x')"})
    assert status == 200, told
    assert told["result"]["stdout"] == "42\n"
    assert [file["name"] for file in told["result"]["files"]] == ["job-1/a.txt"]
    assert stack.run_story(told["run_id"])["n8n"]["workflow_id"] == "capibara6-code-job"
    status, wrong = workflows.post("code-job", {"code": "x", "language": "cobol"})
    assert status == 422
    assert "language" in wrong["detail"]
    assert workflows.post("code-job", {"code": ""})[0] == 400


def test_a_code_job_that_is_asked_for_again_with_its_key_is_the_same_job(stack: Stack, workflows: Workflows) -> None:
    asked = {"code": "print(7 * 7)", "idempotency_key": uuid.uuid4().hex}
    status, begun = workflows.post("code-job", {**asked, "wait": False})
    assert status == 202, begun
    for _ in range(2):  # while it is under way, and when it has ended
        status, told = workflows.post("code-job", asked)
        assert status == 200, told
        assert (told["run_id"], told["result"]["stdout"]) == (begun["run_id"], "49\n")
    assert len(stack.run_story(begun["run_id"])["callbacks"]) == 3, "an address for each execution that waits"
    status, wrong = workflows.post("code-job", {**asked, "code": "print(8)"})
    assert (status, wrong["code"]) == (409, "idempotency_key_used")


def test_the_agent_answers_with_our_models_and_our_tools_at_hand(workflows: Workflows) -> None:
    status, told = workflows.post("agent", {"message": "What is 17% of 2340?"})
    assert status == 200, told
    assert isinstance(told["answer"], str)
    assert all(isinstance(name, str) for name in told["tools_called"])
    assert workflows.status_of(told["execution_id"]) == "success"
    assert workflows.post("agent", {"massage": "x"})[0] == 400


@contextmanager
def scripted_agent(
    workflows: Workflows, called: str, arguments: Json, tool: Json | None = None
) -> Iterator[Callable[[], tuple[Json, str]]]:
    """Our agent with a model that does call this tool: it stands in for the small one, which seldom does. Asked, it
    gives its answer, and what the tool gave the model.
    """
    with answering_models(called, **arguments) as (url, asked):
        data = {"apiKey": "none", "url": url, "header": False}
        made = workflows.api.post(
            "/api/v1/credentials", json={"name": "scripted", "type": "openAiApi", "data": data}
        ).json()
        credential = {"openAiApi": {"id": made["id"], "name": "scripted"}}

        def change(node: Json) -> None:
            if node["name"] == "Our model server":
                node["credentials"] = credential

        def ask() -> tuple[Json, str]:
            reply = workflows.ask("POST", "agent-scripted", json={"message": "What is 17% of 2340?"})
            told: Json = reply.json()
            assert reply.status_code == 200, told
            [result] = [message for message in asked[-1]["messages"] if message["role"] == "tool"]
            return told, json.dumps(result["content"])

        try:
            with workflows.copy_of("agent", "agent-scripted", change, tool):
                yield ask
        finally:
            workflows.api.delete(f"/api/v1/credentials/{made['id']}")


def test_a_tool_that_a_model_calls_is_run_by_our_mcp_server(workflows: Workflows) -> None:
    with scripted_agent(workflows, "calculate", {"expression": "17% * 2340"}) as ask:
        told, result = ask()
    assert told["answer"] == "It is done."
    [called] = told["tools_called"]
    assert called.endswith("calculate")
    assert "397.8" in result


@SANDBOXES
def test_our_node_is_a_tool_of_an_agent(stack: Stack, workflows: Workflows) -> None:
    tool = {
        "name": "Run code", "type": "n8n-nodes-capibara6.capibara6Tool", "typeVersion": 1,
        "parameters": {
            "resource": "code", "operation": "run", "toolDescription": "Runs Python.",
            "code": "={{ $fromAI('code', 'Python that prints its result', 'string') }}",
        },
        "credentials": {"capibara6Api": {"id": made_credentials(stack.home / "n8n")[NAME], "name": NAME}},
    }  # fmt: skip
    with scripted_agent(workflows, "Run_code", {"code": "print(0.17 * 2340)"}, tool) as ask:
        told, result = ask()
    assert told["answer"] == "It is done."
    assert told["tools_called"] == ["Run_code"]
    assert "397.8" in result
    [run] = stack.get("chat-api", "/api/runs?origin=n8n&kind=code&limit=1")["runs"]
    assert run["n8n"]["execution_id"] == told["execution_id"]


def test_a_workflow_is_a_tool_of_our_mcp_server(stack: Stack, workflows: Workflows) -> None:
    """By the documented lines, in an MCP server beside the stack's own."""
    workflows.ask("GET", "capibara6/health")
    servers = stack.home / "run" / "mcp-servers.toml"
    servers.write_text(
        f'[servers.n8n]\nurl = "{stack.url("n8n")}/mcp/capibara6"\n'
        'allowed_tools = ["system_health"]\nread_only = true\n'
    )
    offset = stack.port_offset + MCP_OFFSET
    environment = stack.environment() | {
        "CAPIBARA6_HOME": str(stack.home), "CAPIBARA6_MCP_SERVERS": str(servers), "PYTHONPATH": str(stack.root),
        "CAPIBARA6_PORT_OFFSET": str(offset),
    }  # fmt: skip
    python = stack.home / "envs" / "services" / "bin" / "python"
    url = f"http://127.0.0.1:{5003 + offset}"
    process = subprocess.Popen([python, "-m", "services_node.mcp_server"], env=environment, cwd=stack.root)
    try:
        eventually(lambda: "n8n__system_health" in _tools(url), 60, "the workflow is offered")
        asked = {
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {
                "name": "n8n__system_health", "arguments": {},
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        }  # fmt: skip
        headers = {
            "accept": "application/json, text/event-stream", "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call", "mcp-name": "n8n__system_health",
        }  # fmt: skip
        reply = httpx.post(f"{url}/mcp", json=asked, headers=headers, timeout=60)
        assert reply.status_code == 200, reply.text
        assert "chat-api" in reply.text
        assert '"isError":true' not in reply.text.replace(" ", "")
    finally:
        process.terminate()
        process.wait(20)
        servers.unlink()


def _tools(url: str) -> set[str]:
    try:
        return {tool["name"] for tool in httpx.get(f"{url}/api/mcp/tools", timeout=5).json()["tools"]}
    except httpx.TransportError:
        return set()
