"""The project's main job on real parts: a question goes through, and its story is kept."""

from __future__ import annotations

import asyncio
import os
import re
import time
from typing import Any

import asyncpg
import httpx
import pytest

from tests.e2e.stack import MODEL_SECONDS, SERVICES, Stack, eventually

QUESTION = "¿Cuál es la capital de Francia?"


def rows(url: str, query: str, *arguments: Any) -> list[dict[str, Any]]:
    async def fetch() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(url)
        try:
            return [dict(row) for row in await connection.fetch(query, *arguments)]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def test_up_prints_where_things_are_and_is_quick_the_second_time(stack: Stack) -> None:
    began = time.monotonic()
    done = stack.ok("up", "--detach")
    assert time.monotonic() - began < 60, "everything runs already: nothing is installed or started again"
    assert stack.url("chat-api") in done.stdout
    assert stack.url("prefect-server") in done.stdout
    assert "tiny" in done.stdout
    assert "install" not in done.stderr


def test_every_service_is_ready(stack: Stack) -> None:
    status = stack.status()
    expected = dict.fromkeys(SERVICES, "ready") | ({} if os.getuid() == 0 else {"sandbox-gateway": "unavailable"})
    assert {name: entry["state"] for name, entry in status.items()} == expected
    assert all(entry["pid"] and entry["restarts"] == 0 for entry in status.values())


def test_a_sentence_is_spoken(stack: Stack) -> None:
    body = {"input": "Hola. Son las 9:30 y ya tenemos 3 mensajes nuevos.", "response_format": "pcm"}
    reply = httpx.post(f"{stack.url('tts-server')}/v1/audio/speech", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    assert (reply.headers["x-capibara6-engine"], reply.headers["x-capibara6-voice"]) == ("kokoro", "ef_dora")
    assert 2 < len(reply.content) / 48_000 < 10  # seconds
    assert max(reply.content) != min(reply.content)


def test_a_question_is_answered_and_its_story_kept(stack: Stack) -> None:
    done = stack.ok("chat", "--max-tokens", "24", QUESTION, seconds=MODEL_SECONDS)
    answer = done.stdout.strip()
    assert answer
    said = re.search(r"model (\w+) \(meaning\) · tools none · conversation (\S+) · run (\S+)", done.stderr)
    assert said, done.stderr
    model, conversation_id, run_id = said.groups()
    assert model == "phi4_fast"

    url = stack.env()["CAPIBARA6_DATABASE_URL"]
    [run] = rows(url, "select * from runs where id = $1", run_id)
    assert (run["status"], run["kind"], run["model"]) == ("completed", "chat", model)
    assert run["completion_tokens"] and run["prompt_tokens"] and run["first_token_ms"] > 0
    messages = rows(
        url, "select role, content from messages where conversation_id = $1 order by position", conversation_id
    )
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[0]["content"] == QUESTION
    assert messages[1]["content"].strip() == answer

    def flow_run() -> dict[str, Any] | None:
        flow_run_id = stack.run_story(run_id)["prefect_flow_run_id"]
        reply = httpx.get(f"{stack.url('prefect-server')}/api/flow_runs/{flow_run_id}", timeout=10)
        found: dict[str, Any] = reply.json() if reply.status_code == 200 else {}
        return found if found.get("state", {}).get("type") == "COMPLETED" else None

    flow = eventually(flow_run, 30, "Prefect lists the flow run as completed")
    assert f"run:{run_id}" in flow["tags"]


def test_prefects_ui_is_served(stack: Stack) -> None:
    page = httpx.get(stack.url("prefect-server"), follow_redirects=True, timeout=10)
    assert page.status_code == 200
    assert "<html" in page.text.lower()


def test_a_conversation_goes_on(stack: Stack) -> None:
    [first] = [e for e in stack.events("My name is Ana.", max_tokens=8) if e["type"] == "end"]
    events = list(stack.events("Hello", conversation_id=first["conversation_id"], max_tokens=8))
    assert [event["type"] for event in events if event["type"] != "token"] == ["start", "end"]
    assert all({"type", "content", "done"} <= set(event) for event in events)
    assert [event["done"] for event in events] == [False] * (len(events) - 1) + [True]
    story = stack.get("chat-api", f"/api/conversations/{first['conversation_id']}")
    assert [message["role"] for message in story["messages"]] == ["user", "assistant"] * 2


def test_the_plain_json_answer_satisfies_older_clients(stack: Stack) -> None:
    body = {"prompt": QUESTION, "max_tokens": 8}
    reply = httpx.post(f"{stack.url('chat-api')}/api/chat", json=body, timeout=MODEL_SECONDS)
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    assert answer["response"] == answer["content"] == answer["choices"][0]["message"]["content"]
    assert answer["usage"]["total_tokens"] == answer["tokens"]
    assert not {"error", "detail", "message"} & set(answer)


def test_the_model_server_is_an_openai_server(stack: Stack) -> None:
    ids = [
        entry["id"]
        for entry in stack.get("model-server", "/v1/models")["data"]
        if not entry["capabilities"]["embeddings"]
    ]
    assert ids == ["phi4_fast", "mistral_balanced", "qwen_coder", "gemma3_multimodal", "aya_expanse_multilingual"]
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    reply = httpx.post(f"{stack.url('model-server')}/v1/chat/completions", json=body, timeout=MODEL_SECONDS)
    assert reply.status_code == 200
    assert reply.json()["model"] == reply.headers["x-capibara6-model"] == "phi4_fast"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"message": ""}, 422, "message"),
        ({"message": "x" * 40_000}, 422, "message"),
        ({"message": 3}, 422, "message"),
        ({"message": "hola", "temperature": "hot"}, 422, "temperature"),
        ({"message": "hola", "model": "gpt-9"}, 404, "model"),
        ({"message": "hola", "conversation_id": "01890a5d-ac96-774b-bcce-b302099a8057"}, 404, "conversation_id"),
        ({}, 422, "message"),
    ],
)
def test_bad_input_names_the_field(stack: Stack, body: dict[str, Any], status: int, param: str) -> None:
    reply = httpx.post(f"{stack.url('chat-api')}/api/chat", json=body, timeout=60)
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json"), reply.text
    assert reply.json()["param"] == param


def test_malformed_json_is_a_problem(stack: Stack) -> None:
    reply = httpx.post(f"{stack.url('chat-api')}/api/chat", content=b"{", headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_json")
