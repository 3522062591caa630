"""The assistant on real parts: the packaged model, both MCP servers, Prefect, Postgres, sandboxes."""

from __future__ import annotations

import asyncio
import os
import re
import time
import tomllib
import uuid
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from mcp import Client

from tests.e2e.stack import MODEL_SECONDS, Stack, eventually

QUESTIONS = tomllib.loads(Path(__file__).with_name("tool_questions.toml").read_text(encoding="utf-8"))["questions"]
# Of all questions, what a model of 135 million parameters is held to; docs/benchmarks.md says what it did.
LEAST_REACHED, LEAST_RIGHT = 0.8, 0.6


def ask(stack: Stack, message: str, **fields: Any) -> dict[str, Any]:
    body = {"message": message, "temperature": 0, "max_tokens": 48, **fields}
    reply = httpx.post(f"{stack.url('chat-api')}/api/chat", json=body, timeout=MODEL_SECONDS)
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    return told


@pytest.mark.parametrize(
    "questions",
    [pytest.param(QUESTIONS[::2], id="every second"), pytest.param(QUESTIONS, id="all", marks=pytest.mark.full)],
)
def test_a_small_model_reaches_the_tools_it_needs(stack: Stack, questions: list[dict[str, str]]) -> None:
    reached = right = 0
    missed: list[str] = []
    began = time.monotonic()
    for question in questions:
        calls = [
            call for call in ask(stack, question["ask"], max_tokens=8)["tool_calls"] if call["name"] == question["tool"]
        ]
        got = any(call["status"] == "completed" and re.search(question["result"], call["result"]) for call in calls)
        reached, right = reached + bool(calls), right + got
        missed += [] if got else [f"{question['ask']}: {[(call['arguments'], call['result']) for call in calls]}"]
    seconds = (time.monotonic() - began) / len(questions)
    print(f"reached {reached}, right {right} of {len(questions)} at {seconds:.1f} s each; not right: {missed}")
    assert reached >= LEAST_REACHED * len(questions) and right >= LEAST_RIGHT * len(questions), missed


@pytest.mark.parametrize("small_talk", ["Hi, how are you?", "¿Cuál es la capital de Francia?"])
def test_a_question_that_needs_no_tool_is_one_model_call(stack: Stack, small_talk: str) -> None:
    told = ask(stack, small_talk, max_tokens=8)
    assert told["tool_calls"] == []
    assert [step["kind"] for step in stack.run_story(told["run_id"])["steps"]] == ["model_call"]


def test_a_turn_with_a_tool_is_told_whole_in_every_place(stack: Stack) -> None:
    events = list(stack.events("What is 17 times 23?", max_tokens=32))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "start" and kinds[-1] == "end" and kinds.index("tool_call") < kinds.index("tool_result")
    assert all("content" in event and "done" in event for event in events)
    end = events[-1]
    (call,) = end["tool_calls"]
    assert (call["name"], call["status"]) == ("calculate", "completed") and "391" in call["result"]
    assert "391" in end["full_response"]

    story = stack.run_story(end["run_id"])
    assert [(step["name"], step["kind"]) for step in story["steps"]] == [
        ("tool_choice", "model_call"), ("calculate", "tool_call"), ("model_call", "model_call"),
    ]  # fmt: skip
    assert story["tool_calls"] == 1 and story["tool_errors"] == 0
    kept = stack.get("chat-api", f"/api/conversations/{end['conversation_id']}")["messages"]
    assert [message["role"] for message in kept] == ["user", "assistant"] and kept[1]["tool_calls"] == end["tool_calls"]
    assert "tool calculate" in tasks_in_prefect(stack, end["run_id"])


def tasks_in_prefect(stack: Stack, run_id: str) -> set[str]:
    """Names of the task runs of a run's flow run, once Prefect shows it ended."""
    url = f"{stack.url('prefect-server')}/api"

    def ended() -> Any:
        flows = httpx.post(f"{url}/flow_runs/filter", json={"flow_runs": {"tags": {"all_": [f"run:{run_id}"]}}}).json()
        return flows[0] if flows and flows[0]["state_type"] == "COMPLETED" else None

    flow_run = eventually(ended, 60, "Prefect shows the turn's flow run as completed")

    def names() -> Any:
        asked = {"task_runs": {"flow_run_id": {"any_": [flow_run["id"]]}}}
        return {task["name"].rsplit("-", 1)[0] for task in httpx.post(f"{url}/task_runs/filter", json=asked).json()}

    return set(eventually(lambda: "tool calculate" in names() and names(), 60, "the tool's task is shown"))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make users and cgroups for sandboxes")
def test_code_of_the_assistant_runs_in_the_conversations_sandbox(stack: Stack) -> None:
    # One of the tool's own examples: this is about the way to the sandbox, not about what a tiny model can program.
    told = ask(stack, "Ejecuta código Python que cuente las letras de 'capibara'")
    (call, *_) = told["tool_calls"]
    assert (call["name"], call["status"], call["result"]) == ("run_python", "completed", "8")
    story = stack.run_story(told["run_id"])
    tool = next(step for step in story["steps"] if step["kind"] == "tool_call")
    inside = [step["name"] for step in story["steps"] if step["parent_id"] == tool["id"]]
    assert inside[:1] == ["open_sandbox"] and "run_code" in inside
    code = {"code": "1 + 1", "conversation_id": told["conversation_id"]}
    later = httpx.post(f"{stack.url('chat-api')}/api/code/run", json=code, timeout=60).json()
    assert later["notice"] is None and later["results"][0]["text"] == "2"  # the same sandbox, not a new one


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
@pytest.mark.parametrize(("service", "tool"), [("mcp-server", "calculate"), ("smart-mcp", "call_tool")])
def test_any_mcp_client_of_both_eras_finds_and_calls_tools(stack: Stack, era: str, service: str, tool: str) -> None:
    arguments: dict[str, Any] = {"expression": "6 * 7"}
    if tool == "call_tool":
        arguments = {"name": "calculate", "arguments": arguments}

    async def use() -> tuple[list[str], str]:
        async with Client(f"{stack.url(service)}/mcp", mode=era) as client:
            names = [one.name for one in (await client.list_tools()).tools]
            result = await client.call_tool(tool, arguments)
            assert not result.is_error, result
            return names, str(result.content[0].text)  # type: ignore[union-attr]

    names, text = asyncio.run(use())
    assert tool in names and "42" in text


def test_a_tool_that_does_not_exist_is_refused_before_anything_begins(stack: Stack) -> None:
    body = {"message": "hola", "tools": ["launch_missiles"]}
    reply = httpx.post(f"{stack.url('chat-api')}/api/chat", json=body, timeout=30)
    assert reply.status_code == 422 and reply.json()["code"] == "unknown_tool" and reply.json()["param"] == "tools"


def test_one_trace_and_one_run_id_reach_the_logs_of_every_service(stack: Stack) -> None:
    run_id, trace_id = str(uuid.uuid4()), uuid.uuid4().hex
    headers = {"x-capibara6-run-id": run_id, "traceparent": f"00-{trace_id}-{'1' * 16}-01"}
    body = {"message": "What is 3 times 4?", "max_tokens": 8}
    reply = httpx.post(f"{stack.url('chat-api')}/api/chat", json=body, headers=headers, timeout=MODEL_SECONDS)
    assert reply.json()["run_id"] == run_id and reply.json()["tool_calls"]
    for service in ("chat-api", "model-server", "mcp-server", "smart-mcp"):
        log = stack.home / "logs" / f"{service}.log"

        def tells(log: Path = log) -> bool:
            return any(run_id in line and trace_id in line for line in log.read_text(encoding="utf-8").splitlines())

        eventually(tells, 30, f"{service} tells the run and its trace")  # a line is written when its request is over


def test_an_openai_client_has_the_whole_assistant_as_a_model(stack: Stack) -> None:
    client = openai.OpenAI(base_url=f"{stack.url('chat-api')}/v1", api_key="none", timeout=MODEL_SECONDS)
    assert "capibara6" in {model.id for model in client.models.list()}
    question = "What is 17 times 23?"
    made = client.chat.completions.create(
        model="capibara6", messages=[{"role": "user", "content": question}], max_tokens=32, temperature=0
    )
    assert "391" in (made.choices[0].message.content or "") and made.usage and made.usage.total_tokens
    text, kinds = "", list[str]()
    for event in client.responses.create(
        model="capibara6", input=question, max_output_tokens=32, temperature=0, stream=True
    ):
        kinds.append(event.type)
        text += event.delta if event.type == "response.output_text.delta" else ""
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed" and "391" in text


def test_a_conversation_is_found_exported_forked_made_anew_and_removed(stack: Stack) -> None:
    told = ask(stack, "Recuerda la palabra jacaranda", max_tokens=8)
    api = httpx.Client(base_url=f"{stack.url('chat-api')}/api/conversations", timeout=MODEL_SECONDS)
    place = f"/{told['conversation_id']}"
    found = api.get("/search", params={"q": "jacarandas"}).json()["results"]
    assert told["conversation_id"] in {one["conversation_id"] for one in found}
    assert "jacaranda" in api.get(f"{place}/export", params={"format": "markdown"}).text
    messages = api.get(place).json()["messages"]
    fork = api.post(f"{place}/fork", json={"message_id": messages[0]["id"]}).raise_for_status().json()
    assert fork["forked_from"] == told["conversation_id"]
    again = api.post(f"{place}/regenerate", json={"stream": False}).raise_for_status().json()
    assert again["run_id"] != told["run_id"]
    anew = api.get(place).json()["messages"]
    assert [one["role"] for one in anew] == ["user", "assistant"] and anew[1]["id"] != messages[1]["id"]
    assert api.delete(place).status_code == 204 and api.get(place).status_code == 404
