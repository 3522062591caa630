"""Flows begun by name, and what `/api/runs` tells of them."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from history_house import CALL, REFUSED, ask, faulty, message_ids, told, under_way, written_turn
from installation import Installation, eventually

ENDED = {"completed", "failed", "cancelled", "crashed"}


@pytest.fixture
def api(stack: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url("chat-api"), timeout=30) as client:
        yield client


def begin(api: httpx.Client, flow: str, key: str | None = None, **parameters: Any) -> httpx.Response:
    headers = {"idempotency-key": key} if key else {}
    return api.post(f"/api/flows/{flow}/runs", json={"parameters": parameters}, headers=headers)


def begun(api: httpx.Client, flow: str, key: str | None = None, **parameters: Any) -> str:
    reply = begin(api, flow, key, **parameters)
    assert reply.status_code == 202, reply.text
    return reply.json()["run_id"]


def ended(api: httpx.Client, run_id: str) -> dict[str, Any]:
    found = eventually(
        lambda: (run := api.get(f"/api/runs/{run_id}").json())["status"] in ENDED and run, 30, "the run ended"
    )
    assert found
    return found


def open_streams(stack: Installation) -> int:
    return httpx.get(f"{stack.url('model-server')}/watch").json()["open"]


def test_flows_are_listed_with_what_they_are_told(api: httpx.Client) -> None:
    listed = {one["name"]: one for one in api.get("/api/flows").json()["flows"]}
    work = {"chat", "code", "code-batch", "speech", "workflow", "chat-batch"}
    assert set(listed) == work | {"digest", "retention", "routing-evaluation", "warm-up"}
    assert all(one["description"] for one in listed.values())
    for name, field in (("chat", "message"), ("code", "code"), ("code-batch", "jobs")):
        schema = listed[name]["parameters_schema"]
        assert schema["type"] == "object" and field in schema["properties"] and "stream" not in schema["properties"]
    assert listed["code"]["parameters_schema"]["required"] == ["code"]


def test_a_chat_goes_on_by_itself_and_its_answer_is_in_its_conversation(api: httpx.Client, stack: Installation) -> None:
    run_id, parent = str(uuid.uuid4()), ask(api, message="hola tokens=1")["run_id"]
    headers = {"x-capibara6-run-id": run_id, "x-capibara6-parent-run-id": parent}
    reply = api.post(
        "/api/flows/chat/runs", json={"parameters": {"message": "hola tokens=4 every=0.2"}}, headers=headers
    )
    assert reply.status_code == 202, reply.text
    where = f"/api/runs/{run_id}"
    assert reply.headers["location"] == where and reply.json() == {
        "run_id": run_id, "status": reply.json()["status"], "flow": "chat", "location": where, "url": where,
        "status_url": where,
    }  # fmt: skip
    assert reply.json()["status"] in {"queued", "running"}
    run = ended(api, run_id)
    assert run["status"] == "completed" and run["kind"] == "chat" and run["parent_id"] == parent
    assert [(one["role"], one["content"]) for one in run["messages"]] == [
        ("user", "hola tokens=4 every=0.2"),
        ("assistant", "t0 t1 t2 t3 "),
    ]
    on = ended(api, begun(api, "chat", message="y tokens=1", conversation_id=run["conversation_id"]))
    assert on["conversation_id"] == run["conversation_id"] and len(told(api, run["conversation_id"])) == 4
    children = api.get(f"/api/runs/{parent}").json()["children"]
    assert [child["id"] for child in children] == [run_id]
    listed = api.get("/api/runs", params={"parent_id": parent}).json()["runs"]
    assert [child["id"] for child in listed] == [run_id]


def test_code_goes_on_by_itself_and_its_run_has_the_files(api: httpx.Client) -> None:
    run = ended(api, begun(api, "code", code="(home/'a.txt').write_text('a')"))
    assert run["status"] == "completed" and run["kind"] == "code", run
    assert [one["name"] for one in run["files"]] == ["a.txt"]
    assert [one["name"] for one in run["steps"]][:1] == ["open_sandbox"]
    assert all(one["duration_ms"] >= 0 and one["kind"] for one in run["steps"])


def test_the_same_key_and_request_is_one_run_however_often_and_at_once(api: httpx.Client, stack: Installation) -> None:
    key, replies = str(uuid.uuid4()), []
    url = f"{stack.url('chat-api')}/api/flows/chat/runs"
    asking = [
        threading.Thread(
            target=lambda: replies.append(
                httpx.post(
                    url,
                    json={"parameters": {"message": "una vez tokens=1"}},
                    headers={"idempotency-key": key},
                    timeout=30,
                )
            )
        )
        for _ in range(6)
    ]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert {reply.status_code for reply in replies} == {202}, [reply.text for reply in replies]
    ids = {reply.json()["run_id"] for reply in replies}
    assert len(ids) == 1
    run = ended(api, ids.pop())
    assert len(run["messages"]) == 2
    again = begin(api, "chat", key, message="una vez tokens=1")
    assert again.json()["run_id"] == run["id"] and again.json()["status"] == "completed"
    assert api.delete(f"/api/conversations/{run['conversation_id']}").status_code == 204
    assert begin(api, "chat", key, message="una vez tokens=1").json()["run_id"] == run["id"]
    faulty(begin(api, "chat", key, message="otra cosa"), 409, "idempotency-key", "idempotency_key_used")
    faulty(begin(api, "code", key, code="1"), 409, "idempotency-key", "idempotency_key_used")


def test_a_flows_run_can_be_cancelled(api: httpx.Client, stack: Installation) -> None:
    run_id = begun(api, "chat", message="hola tokens=2000 every=0.05")
    eventually(lambda: open_streams(stack) == 1, 5, "it generates")
    cancelled = api.post(f"/api/runs/{run_id}/cancel").json()
    assert cancelled["status"] == "cancelled" and cancelled["error"]["code"] == "cancelled_by_client"
    eventually(lambda: open_streams(stack) == 0, 5, "generation stopped")


def test_a_flow_that_fails_says_so_in_its_run(api: httpx.Client) -> None:
    run = ended(api, begun(api, "chat", message="hola", model="nobody"))
    assert run["status"] == "failed" and run["error"]["code"] == "model_not_found"


def test_a_flow_whose_conversation_goes_meanwhile_does_not_stay_queued(api: httpx.Client, stack: Installation) -> None:
    for _ in range(5):
        conversation = ask(api, message="hola tokens=1")["conversation_id"]
        url = f"{stack.url('chat-api')}/api/conversations/{conversation}"
        removing = threading.Thread(target=httpx.delete, args=(url,))
        removing.start()
        reply = begin(api, "chat", message="hola tokens=2 every=0.1", conversation_id=conversation)
        removing.join()
        if reply.status_code == 202:
            assert ended(api, reply.json()["run_id"])["conversation_id"] is None
        else:
            faulty(reply, 404, "parameters.conversation_id")


@pytest.mark.parametrize(
    ("flow", "body", "status", "param"),
    [
        ("nonsense", {"parameters": {}}, 404, "name"),
        ("chat", {}, 422, "parameters"),
        ("chat", {"message": "hola"}, 422, "parameters"),
        ("chat", {"parameters": []}, 422, "parameters"),
        ("chat", [], 422, "body"),
        ("chat", {"parameters": {}}, 422, "parameters.message"),
        ("chat", {"parameters": {"message": " "}}, 422, "parameters.message"),
        ("chat", {"parameters": {"message": "a\x00b"}}, 422, "parameters.message"),
        ("chat", {"parameters": {"message": "hola", "temperature": "hot"}}, 422, "parameters.temperature"),
        ("chat", {"parameters": {"message": "hola", "conversation_id": str(uuid.uuid4())}}, 404,
         "parameters.conversation_id"),
        ("code", {"parameters": {"code": ""}}, 422, "parameters.code"),
        ("code", {"parameters": {"code": "1", "language": "cobol"}}, 422, "parameters.language"),
        ("code", {"parameters": {"code": "1", "timeout_seconds": 1e6}}, 422, "parameters.timeout_seconds"),
        ("code", {"parameters": {"code": "1", "files": [{"name": "../a", "content": "x"}]}}, 422,
         "parameters.files.0.name"),
        ("code", {"parameters": {"code": "1", "conversation_id": str(uuid.uuid4())}}, 404,
         "parameters.conversation_id"),
        ("code-batch", {"parameters": {"jobs": []}}, 422, "parameters.jobs"),
        ("code-batch", {"jobs": [{"code": 5}]}, 422, "jobs.0.code"),
        ("code-batch", {}, 422, "parameters"),
        ("chat-batch", {"parameters": {}}, 422, "parameters.file_id"),
        ("chat-batch", {"parameters": {"items": []}}, 422, "parameters.items"),
        ("chat-batch", {"parameters": {"items": [{"message": "hola"}, {}]}}, 422, "parameters.items.1"),
        ("chat-batch", {"parameters": {"items": [{"message": 5}]}}, 422, "parameters.items.0.message"),
        ("chat-batch", {"parameters": {"file_id": str(uuid.uuid4())}}, 404, "parameters.file_id"),
        ("digest", {"parameters": {"day": "yesterday"}}, 422, "parameters.day"),
        ("retention", {"parameters": {"dry_run": "no"}}, 422, "parameters.dry_run"),
        ("routing-evaluation", {"parameters": {"messages": 0}}, 422, "parameters.messages"),
        ("warm-up", {"parameters": {}}, 422, "parameters.models"),
    ],
)  # fmt: skip
def test_bad_parameters_name_the_field_and_begin_nothing(
    api: httpx.Client, flow: str, body: Any, status: int, param: str
) -> None:
    run_id = str(uuid.uuid4())
    reply = api.post(f"/api/flows/{flow}/runs", json=body, headers={"x-capibara6-run-id": run_id})
    assert faulty(reply, status, param)
    assert api.get(f"/api/runs/{run_id}").status_code == 404


def test_a_key_that_is_too_long_is_refused(api: httpx.Client) -> None:
    faulty(begin(api, "chat", "k" * 256, message="hola"), 422, "header.idempotency-key")


def test_a_run_id_that_was_used_is_refused(api: httpx.Client) -> None:
    used = ask(api, message="hola tokens=1")["run_id"]
    reply = api.post(
        "/api/flows/chat/runs", json={"parameters": {"message": "hola"}}, headers={"x-capibara6-run-id": used}
    )
    faulty(reply, 409, "x-capibara6-run-id", "run_id_used")


def test_runs_are_filtered_by_what_they_are(api: httpx.Client, stack: Installation) -> None:
    conversation = ask(api, message="hola tokens=1", model="filtered_model")["conversation_id"]
    ask(api, message="y tokens=1", conversation_id=conversation)
    api.post("/api/code/run", json={"code": "1", "conversation_id": conversation})

    def found(**wanted: Any) -> list[dict[str, Any]]:
        reply = api.get("/api/runs", params={"limit": 200, **wanted})
        assert reply.status_code == 200, reply.text
        return reply.json()["runs"]

    whole = found(conversation_id=conversation)
    assert [one["kind"] for one in whole] == ["code", "chat", "chat"]
    assert [one["id"] for one in found(conversation_id=conversation, kind="code")] == [whole[0]["id"]]
    assert [one["id"] for one in found(model="filtered_model")] == [whole[2]["id"]]
    assert [one["id"] for one in found(conversation_id=conversation, until=whole[0]["created_at"])] == [
        whole[1]["id"],
        whole[2]["id"],
    ]
    assert [one["id"] for one in found(conversation_id=conversation, since=whole[1]["created_at"])] == [
        whole[0]["id"],
        whole[1]["id"],
    ]
    assert found(conversation_id=conversation, status="failed") == [] == found(conversation_id=str(uuid.uuid4()))
    with under_way(api, conversation_id=conversation) as start:
        running = httpx.get(f"{stack.url('chat-api')}/api/runs", params={"status": "running"}).json()["runs"]
        assert start["run_id"] in {one["id"] for one in running}


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"kind": " "}, "query.kind"),
        ({"kind": "a\x00"}, "query.kind"),
        ({"model": "x" * 201}, "query.model"),
        ({"status": "wrong"}, "query.status"),
        ({"conversation_id": "nonsense"}, "query.conversation_id"),
        ({"since": "yesterday"}, "query.since"),
        ({"since": "2026-01-01T00:00:00"}, "query.since"),
        ({"until": "0001-01-01T00:00:00+14:00"}, "query.until"),
        ({"cursor": "nonsense"}, "cursor"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(api: httpx.Client, params: dict[str, str], param: str) -> None:
    faulty(api.get("/api/runs", params=params), 422, param)


def test_somebody_elses_runs_are_not_there(api: httpx.Client, stack: Installation) -> None:
    mine = ask(api, message="hola tokens=1")["run_id"]
    theirs = written_turn(stack, "eva", "secreto", "sí")
    faulty(api.get(f"/api/runs/{theirs.id}"), 404, "run_id")
    faulty(api.post(f"/api/runs/{theirs.id}/cancel"), 404, "run_id")
    for name, value in (("conversation_id", theirs.conversation_id), ("parent_id", theirs.id)):
        assert api.get("/api/runs", params={name: str(value)}).json()["runs"] == []
    child = written_turn(stack, "eva", "hija", "sí", parent_id=uuid.UUID(mine))  # says that it is a child of mine
    assert api.get(f"/api/runs/{mine}").json()["children"] == []
    headers = {"x-capibara6-parent-run-id": str(child.id)}
    run = api.post("/api/chat", json={"message": "hola tokens=1"}, headers=headers).json()["run_id"]
    assert api.get(f"/api/runs/{run}").json()["parent_id"] is None
    params = {"message": "hola", "conversation_id": str(theirs.conversation_id)}
    faulty(begin(api, "chat", **params), 404, "parameters.conversation_id")


def test_a_story_tells_steps_tools_and_what_was_said(api: httpx.Client, stack: Installation) -> None:
    run = written_turn(stack, "local", "lee a", "dice hola", calls=(CALL, REFUSED))
    story = api.get(f"/api/runs/{run.id}").json()
    assert (story["tool_calls"], story["tool_errors"]) == (2, 1)
    (step,) = story["steps"]
    assert step["kind"] == "model_call" and step["detail"] == {"model": "phi4_fast", "tokens": 3}
    assert step["duration_ms"] == 0 and step["parent_id"] is None
    assert [one["id"] for one in story["messages"]] == message_ids(api, run.conversation_id)
    assert [one["status"] for one in story["messages"][1]["tool_calls"]] == ["completed", "failed"]
