"""The chat API on real Postgres and Prefect, with a fake model server behind it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx
import pytest
from installation import Installation, eventually


@pytest.fixture
def api(stack: Installation) -> httpx.Client:
    return httpx.Client(base_url=stack.url("chat-api"), timeout=30)


def ask(api: httpx.Client, **request: Any) -> dict[str, Any]:
    reply = api.post("/api/chat", json=request)
    assert reply.status_code == 200, reply.text
    return reply.json()


def events(api: httpx.Client, **request: Any) -> list[dict[str, Any]]:
    with api.stream("POST", "/api/chat/stream", json=request) as reply:
        assert reply.status_code == 200, reply.read()
        assert reply.headers["x-accel-buffering"] == "no"
        assert reply.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: ")]


def seen(stack: Installation) -> list[dict[str, Any]]:
    return httpx.get(f"{stack.url('model-server')}/watch").json()["seen"]


def run_of(api: httpx.Client, run_id: str) -> dict[str, Any]:
    return api.get(f"/api/runs/{run_id}").json()


def test_a_reply_has_what_every_generation_of_clients_reads(api: httpx.Client) -> None:
    reply = ask(api, message="hola tokens=4", use_semantic_router=True, user="x", category="general")
    assert reply["response"] == reply["content"] == reply["choices"][0]["message"]["content"] == "t0 t1 t2 t3 "
    assert reply["model"] == "qwen_coder" and reply["route"] == "test"
    assert reply["usage"]["completion_tokens"] == 4
    assert reply["tokens"] == reply["usage"]["total_tokens"]
    assert reply["latency_ms"] > 0 and reply["tool_calls"] == []
    assert not {"error", "detail", "message"} & set(reply)


def test_every_event_has_content_and_done(api: httpx.Client) -> None:
    told = events(api, prompt="hola tokens=4", n_predict=1)
    assert [event["type"] for event in told] == ["start", *["token"] * 4, "end"]
    assert all({"content", "done"} <= set(event) for event in told)
    end = told[-1]
    assert end["full_response"] == "t0 t1 t2 t3 " and end["done"] and end["usage"]["total_tokens"] == 11
    assert {"model", "route", "run_id", "conversation_id", "timings"} <= set(end)
    assert "".join(event["content"] for event in told) == end["full_response"]


def test_stream_true_is_the_stream(api: httpx.Client) -> None:
    reply = api.post("/api/chat", json={"message": "hola", "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")


def test_a_conversation_is_kept_across_calls(api: httpx.Client, stack: Installation) -> None:
    first = ask(api, message="me llamo Ana tokens=2")
    second = events(api, message="¿cómo me llamo? tokens=1", conversation_id=first["conversation_id"])[-1]
    assert second["conversation_id"] == first["conversation_id"]
    asked = seen(stack)[-1]["body"]["messages"]
    assert asked[0]["role"] == "system" and "asistente" in asked[0]["content"]
    assert [(one["role"], one["content"]) for one in asked[1:]] == [
        ("user", "me llamo Ana tokens=2"),
        ("assistant", "t0 t1 "),
        ("user", "¿cómo me llamo? tokens=1"),
    ]
    kept = api.get(f"/api/conversations/{first['conversation_id']}").json()
    assert [one["role"] for one in kept["messages"]] == ["user", "assistant", "user", "assistant"]
    assert kept["title"] == "me llamo Ana tokens=2"


def test_messages_begin_a_conversation_with_all_of_them(api: httpx.Client, stack: Installation) -> None:
    given = [
        {"role": "system", "content": "Sé breve."},
        {"role": "user", "content": "uno"},
        {"role": "assistant", "content": "dos"},
        {"role": "user", "content": "tres"},
    ]
    reply = ask(api, messages=given, temperature=0, max_tokens=5)
    body = seen(stack)[-1]["body"]
    assert body["messages"] == given and body["temperature"] == 0 and body["max_tokens"] == 5
    kept = api.get(f"/api/conversations/{reply['conversation_id']}").json()["messages"]
    assert [one["content"] for one in kept] == ["Sé breve.", "uno", "dos", "tres", "t0 t1 t2 "]


def test_one_run_id_and_one_trace_from_the_first_hop_to_the_last(api: httpx.Client, stack: Installation) -> None:
    run_id, trace_id = str(uuid.uuid4()), "ab" * 16
    headers = {"x-capibara6-run-id": run_id, "traceparent": f"00-{trace_id}-{'cd' * 8}-01"}
    reply = api.post("/api/chat", json={"message": "hola"}, headers=headers)
    assert reply.headers["x-capibara6-run-id"] == reply.json()["run_id"] == run_id
    passed_on = seen(stack)[-1]["headers"]
    assert passed_on["x-capibara6-run-id"] == run_id and trace_id in passed_on["traceparent"]
    run = run_of(api, run_id)
    assert run["trace_id"] == trace_id and run["status"] == "completed"
    assert [(step["name"], step["status"]) for step in run["steps"]] == [("model_call", "completed")]
    assert run["timings"]["first_token_ms"] > 0 and run["timings"]["queue_ms"] == 1.5
    again = api.post("/api/chat", json={"message": "hola"}, headers=headers)
    assert again.status_code == 409 and again.json()["code"] == "run_id_used"


@pytest.mark.parametrize(
    ("request_body", "status", "param"),
    [
        ({}, 422, "message"),
        ({"message": ""}, 422, "message"),
        ({"message": "  \n "}, 422, "message"),
        ({"message": "x" * 32_001}, 422, "message"),
        ({"message": 5}, 422, "message"),
        ({"message": "a\x00b"}, 422, "message"),
        ({"message": "hola", "messages": [{"role": "user", "content": "hola"}]}, 422, "messages"),
        ({"message": "hola", "prompt": "hola"}, 422, "prompt"),
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 422, "messages.0.role"),
        ({"messages": [{"role": "user", "content": " "}]}, 422, "messages.0.content"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 422, "messages"),
        ({"message": "hola", "stream": "yes"}, 422, "stream"),
        ({"message": "hola", "temperature": "hot"}, 422, "temperature"),
        ({"message": "hola", "temperature": 9}, 422, "temperature"),
        ({"message": "hola", "max_tokens": 0}, 422, "max_tokens"),
        ({"message": "hola", "conversation_id": "nonsense"}, 422, "conversation_id"),
        ({"message": "hola", "conversation_id": str(uuid.uuid4())}, 404, "conversation_id"),
        ({"message": "hola", "model": "nobody"}, 404, "model"),
        ({"message": "hola", "tools": "all"}, 422, "tools"),
        ({"message": "hola", "tools": [{"type": "function"}]}, 422, "tools"),
        ({"message": "hola", "speak": "yes"}, 422, "speak"),
        ({"message": "hola", "speak": {"speed": 9}}, 422, "speak.speed"),
    ],
)
@pytest.mark.parametrize("path", ["/api/chat", "/api/chat/stream"])
def test_bad_input_names_the_field(
    api: httpx.Client, path: str, request_body: dict[str, Any], status: int, param: str
) -> None:
    reply = api.post(path, json=request_body)
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["param"] == param and problem["status"] == status and problem["code"] and problem["detail"]


def test_what_is_not_wanted_may_be_named(api: httpx.Client) -> None:
    assert ask(api, message="hola", tools=False, speak=False, model="", temperature=0.5)["response"]
    assert ask(api, message="hola", tools=[])["response"]


def test_malformed_json_is_400(api: httpx.Client) -> None:
    reply = api.post("/api/chat", content=b"{not json", headers={"content-type": "application/json"})
    assert reply.status_code == 400 and reply.json()["code"] == "malformed_json"


@pytest.mark.parametrize("path", ["/api/chat", "/api/chat/stream"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_full_model_server_is_passed_on_with_its_retry_after(api: httpx.Client, path: str, status: int) -> None:
    reply = api.post(path, json={"message": f"hola status={status}"})
    assert reply.status_code == status and reply.headers["retry-after"] == "7"
    assert reply.json()["code"] == "queue_full"


def test_a_model_that_dies_in_mid_answer_ends_the_stream_with_an_error_and_keeps_what_was_said(
    api: httpx.Client,
) -> None:
    told = events(api, message="hola tokens=9 error=3")
    assert [event["type"] for event in told] == ["start", "token", "token", "token", "error"]
    last = told[-1]
    assert last["done"] and last["error"]["code"] == "engine_died" and last["full_response"] == "t0 t1 t2 "
    run = run_of(api, last["run_id"])
    assert run["status"] == "failed" and run["error"]["code"] == "engine_died"
    kept = api.get(f"/api/conversations/{last['conversation_id']}").json()["messages"]
    assert kept[-1]["content"] == "t0 t1 t2 " and kept[-1]["complete"] is False
    assert ask(api, message="otra vez", conversation_id=last["conversation_id"])["response"]


def test_a_call_that_broke_before_its_first_token_is_made_once_more(api: httpx.Client) -> None:
    reply = ask(api, message="hola die_once=plain tokens=2")
    assert reply["response"] == "t0 t1 "
    steps = run_of(api, reply["run_id"])["steps"]
    assert [(step["name"], step["status"]) for step in steps] == [
        ("model_call", "failed"),
        ("model_call_retry", "completed"),
    ]


def test_a_silent_stream_is_kept_alive_with_comments(api: httpx.Client) -> None:
    with api.stream("POST", "/api/chat/stream", json={"message": "hola wait=3.5"}) as reply:
        assert reply.status_code == 200
        lines = [line for line in reply.iter_lines() if line]
    assert ": waiting" in lines and json.loads(lines[-1][6:])["type"] == "end"


def test_pages_of_conversations_and_runs_follow_one_another(api: httpx.Client) -> None:
    for _ in range(3):
        ask(api, message="hola")
    for path, name in (("/api/conversations", "conversations"), ("/api/runs", "runs")):
        first = api.get(path, params={"limit": 2}).json()
        second = api.get(path, params={"limit": 2, "cursor": first["next_cursor"]}).json()
        ids = [one["id"] for one in first[name] + second[name]]
        assert len(ids) == len(set(ids)) >= 3
    assert api.get("/api/runs", params={"cursor": "nonsense"}).json()["param"] == "cursor"
    failed = api.get("/api/runs", params={"status": "failed"}).json()["runs"]
    assert {run["status"] for run in failed} == {"failed"}
    assert api.get("/api/runs", params={"status": "wrong"}).status_code == 422


def test_a_removed_conversation_is_gone_and_its_runs_stay(api: httpx.Client) -> None:
    reply = ask(api, message="hola")
    path = f"/api/conversations/{reply['conversation_id']}"
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == api.delete(path).status_code == 404
    assert run_of(api, reply["run_id"])["conversation_id"] is None


def test_what_is_not_there_is_404(api: httpx.Client) -> None:
    assert api.get(f"/api/runs/{uuid.uuid4()}").json()["param"] == "run_id"
    assert api.post(f"/api/runs/{uuid.uuid4()}/cancel").status_code == 404
    assert api.get("/api/nothing").status_code == 404


def test_cancelling_a_run_stops_its_generation(api: httpx.Client, stack: Installation) -> None:
    with api.stream("POST", "/api/chat/stream", json={"message": "hola tokens=2000 every=0.05"}) as reply:
        lines = reply.iter_lines()
        run_id = json.loads(next(lines)[6:])["run_id"]
        ended = httpx.post(f"{stack.url('chat-api')}/api/runs/{run_id}/cancel").json()
        assert ended["status"] == "cancelled" and ended["error"]["code"] == "cancelled_by_client"
        last = [json.loads(line[6:]) for line in lines if line.startswith("data: ")][-1]
    assert last["type"] == "error" and last["error"]["code"] == "cancelled_by_client"
    eventually(lambda: httpx.get(f"{stack.url('model-server')}/watch").json()["open"] == 0, 5, "generation stopped")
    assert api.post(f"/api/runs/{run_id}/cancel").status_code == 409


@pytest.mark.parametrize("path", ["/api/chat", "/api/chat/stream"])
def test_a_client_that_goes_away_cancels_everything(api: httpx.Client, stack: Installation, path: str) -> None:
    run_id = str(uuid.uuid4())
    with pytest.raises(httpx.ReadTimeout), api.stream(
        "POST", path, json={"message": "hola tokens=2000 every=0.3"}, timeout=0.2,
        headers={"x-capibara6-run-id": run_id},
    ) as reply:  # fmt: skip
        reply.read()
    eventually(lambda: run_of(api, run_id)["status"] == "cancelled", 5, "the run is cancelled")
    run = run_of(api, run_id)
    assert run["error"]["code"] == "client_disconnected"
    eventually(lambda: httpx.get(f"{stack.url('model-server')}/watch").json()["open"] == 0, 5, "generation stopped")
    kept = api.get(f"/api/conversations/{run['conversation_id']}").json()["messages"]
    assert kept[0]["role"] == "user"
    assert all(not one["complete"] for one in kept if one["role"] == "assistant")


def test_health_models_and_metrics(api: httpx.Client) -> None:
    checks = api.get("/health/ready").json()["checks"]
    assert checks.pop("tools") in ("ok", "away: chats go on without tools")  # nobody serves them here
    assert checks == {"database": "ok", "models": "ok", "prefect": "ok"}
    health = api.get("/api/health").json()
    assert health["status"] == "healthy" and health["timestamp"] and health["services"]["database"] == "ok"
    assert api.get("/api/models").json()["data"][0]["id"] == "qwen_coder"
    metrics = api.get("/metrics").text
    for name in ("gen_ai_client_operation_duration_seconds", "time_to_first_chunk", "capibara6_chat_active_turns"):
        assert name in metrics
