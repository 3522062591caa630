"""Conversations: found, renamed, removed, exported, forked, and answers made again."""

from __future__ import annotations

import base64
import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from history_house import CALL, REFUSED, ask, faulty, in_database, message_ids, told, under_way, written_turn
from installation import Installation, eventually

from db.conversations import Conversations
from db.records import History
from db.turns import Turns


@pytest.fixture
def api(stack: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url("chat-api"), timeout=30) as client:
        yield client


def watched(stack: Installation, service: str = "model-server") -> dict[str, Any]:
    return httpx.get(f"{stack.url(service)}/watch").json()


def asked_of_model(stack: Installation) -> list[tuple[str, str]]:
    """What was said, of the last call; the system prompt aside."""
    messages = watched(stack)["seen"][-1]["body"]["messages"]
    return [(one["role"], one["content"]) for one in messages if one["role"] != "system"]


def test_messages_show_the_tools_that_an_answer_used(api: httpx.Client, stack: Installation) -> None:
    run = written_turn(stack, "local", "lee a", "dice hola", calls=(CALL, REFUSED))
    question, answer = api.get(f"/api/conversations/{run.conversation_id}").json()["messages"]
    assert question["tool_calls"] == []
    assert answer["tool_calls"] == [
        {
            "id": "c1", "name": "fetch_url", "arguments": {"url": "http://a/```"}, "status": "completed",
            "result": "text ``` of it", "error": None, "duration_ms": 12.5, "untrusted": True,
        },
        {
            "id": "c2", "name": "fetch_url", "arguments": {"url": "http://a/```"}, "status": "failed", "result": None,
            "error": {"code": "no", "detail": "not there"}, "duration_ms": 12.5, "untrusted": True,
        },
    ]  # fmt: skip


def test_a_list_can_be_narrowed_to_titles_that_have_a_text(api: httpx.Client) -> None:
    word = uuid.uuid4().hex
    kept = ask(api, message=f"100% de {word} tokens=1")["conversation_id"]
    ask(api, message=f"nada de {word[::-1]} tokens=1")
    for text in (word, word.upper(), f"0% DE {word}"):
        found = api.get("/api/conversations", params={"q": text}).json()
        assert [one["id"] for one in found["conversations"]] == [kept] and found["next_cursor"] is None
    assert api.get("/api/conversations", params={"q": f"_% de {word}"}).json()["conversations"] == []


def test_search_finds_words_in_both_languages_ranks_and_marks_them(api: httpx.Client, stack: Installation) -> None:
    word = "zumo" + uuid.uuid4().hex[:8]
    once = written_turn(stack, "local", f"{word} y otras cosas", "sí " * 50 + "it was **raining** hard")
    often = written_turn(stack, "local", "otra", f"Llovieron valles de {word}: {word}, {word} <b>")
    written_turn(stack, "eva", f"{word} de eva", f"{word} valles raining")

    def found(query: str) -> list[dict[str, Any]]:
        reply = api.get("/api/conversations/search", params={"q": query, "limit": 5})
        assert reply.status_code == 200, reply.text
        return reply.json()["results"]

    both = found(word)
    assert [one["conversation_id"] for one in both] == [str(often.conversation_id), str(once.conversation_id)]
    assert 1 >= both[0]["rank"] > both[1]["rank"] > 0
    assert both[0]["snippet"] == f"Llovieron valles de **{word}**: **{word}**, **{word}**"
    assert both[1]["title"] == f"{word} y otras cosas" and both[1]["role"] == "user"
    assert both[1]["message_id"] == message_ids(api, once.conversation_id)[0]
    assert [one["role"] for one in found(f"lloviendo {word}")] == ["assistant"]
    assert "**Llovieron**" in found(f"lloviendo {word}")[0]["snippet"]
    assert found(f"{word} -valle")[0]["conversation_id"] == str(once.conversation_id)
    assert found(f'"valles de {word}"')[0]["conversation_id"] == str(often.conversation_id)
    rained = next(one for one in found("rains") if one["conversation_id"] == str(once.conversation_id))
    assert "**raining**** hard" in rained["snippet"] and len(rained["snippet"]) <= 600
    for nothing in ("-", "!!! ???", "a the", f"{word}nunca", "a:* & | (", "'"):
        assert found(nothing) == [], nothing


def test_a_renamed_conversation_keeps_its_place(api: httpx.Client) -> None:
    first, second = (ask(api, message="hola tokens=1")["conversation_id"] for _ in range(2))
    renamed = api.patch(f"/api/conversations/{first}", json={"title": "  Lluvia \n en  Gádor  "})
    assert renamed.status_code == 200 and renamed.json()["title"] == "Lluvia en Gádor"
    listed = [one["id"] for one in api.get("/api/conversations", params={"limit": 2}).json()["conversations"]]
    assert listed == [second, first]


def test_a_removed_conversation_takes_its_files_and_its_sandbox_with_it(api: httpx.Client, stack: Installation) -> None:
    conversation_id = ask(api, message="hola tokens=1")["conversation_id"]
    code = "(home/'a.txt').write_text('a'); (home/'b.txt').write_text('b')"
    made = api.post("/api/code/run", json={"code": code, "conversation_id": conversation_id}).json()
    assert len(made["files"]) == 2
    uploaded = api.post("/api/files", files={"file": ("mine.txt", b"mine")}).json()
    stored = {one["id"]: stack.home / "data" / "files" / one["id"][-2:] / one["id"] for one in made["files"]}
    assert all(path.is_file() for path in stored.values())
    sandbox = made["sandbox_id"]
    assert any(one["id"] == sandbox for one in watched(stack, "sandbox-gateway")["sandboxes"])
    assert api.delete(f"/api/conversations/{conversation_id}").status_code == 204
    for file_id, path in stored.items():
        assert api.get(f"/api/files/{file_id}").status_code == 404 and not path.exists()
    assert api.get(f"/api/files/{uploaded['id']}/content").content == b"mine"
    eventually(
        lambda: all(one["id"] != sandbox for one in watched(stack, "sandbox-gateway")["sandboxes"]),
        10,
        "the conversation's sandbox is gone",
    )
    run = api.get(f"/api/runs/{made['run_id']}").json()
    assert run["status"] == "completed" and run["conversation_id"] is None and run["files"] == []


def test_removing_a_conversation_while_a_turn_runs_in_it_ends_the_turn(api: httpx.Client, stack: Installation) -> None:
    with under_way(api) as start:
        assert httpx.delete(f"{stack.url('chat-api')}/api/conversations/{start['conversation_id']}").status_code == 204
    run = api.get(f"/api/runs/{start['run_id']}").json()
    assert run["status"] == "cancelled" and run["conversation_id"] is None and run["messages"] == []
    eventually(lambda: watched(stack)["open"] == 0, 5, "generation stopped")


def test_an_export_is_whole_in_both_forms(api: httpx.Client, stack: Installation) -> None:
    run = written_turn(stack, "local", "¿qué dice a/b?", "dice *hola*", calls=(CALL, REFUSED))
    for number in range(60):  # more than a page
        written_turn(
            stack, "local", f"pregunta {number}", f"respuesta {number}",
            conversation_id=run.conversation_id, new_conversation=False,
        )  # fmt: skip
    path = f"/api/conversations/{run.conversation_id}"
    reply = api.get(f"{path}/export")
    assert reply.headers["content-type"] == "application/json"
    disposition = reply.headers["content-disposition"]
    assert disposition.startswith('attachment; filename="_qu_ dice a-b_.json"') and "%C2%BFqu%C3%A9" in disposition
    whole = reply.json()
    assert whole["format"] == "capibara6-conversation/1" and whole["exported_at"]
    assert whole["conversation"] == {name: value for name, value in api.get(path).json().items() if name != "messages"}
    assert whole["messages"] == api.get(path, params={"messages": 1000}).json()["messages"]
    assert len(whole["messages"]) == 122 and len(whole["runs"]) == 61
    assert whole["runs"][0]["id"] == str(run.id) and whole["runs"][0]["steps"][0]["kind"] == "model_call"
    written = api.get(f"{path}/export", params={"format": "markdown"})
    assert written.headers["content-type"] == "text/markdown; charset=utf-8"
    text = written.text
    assert text.startswith("# ¿qué dice a/b?\n\n## User, 20") and text.count("\n## Assistant (phi4_fast), ") == 61
    assert "Tool `fetch_url`: completed in 12 ms, from outside\n" in text and "````\ntext ``` of it\n````" in text
    assert "no: not there" in text and "dice *hola*\n" in text


def test_a_fork_goes_on_from_a_message_and_leaves_the_first_conversation_alone(
    api: httpx.Client, stack: Installation
) -> None:
    first = ask(api, message="uno tokens=1")["conversation_id"]
    ask(api, message="dos tokens=2", conversation_id=first)
    before, ids = told(api, first), message_ids(api, first)
    forked = api.post(f"/api/conversations/{first}/fork", json={"message_id": ids[1]})
    assert forked.status_code == 201, forked.text
    new = forked.json()
    assert new["forked_from"] == first and new["title"] == "uno tokens=1"
    assert forked.headers["location"] == f"/api/conversations/{new['id']}"
    assert told(api, new["id"]) == before[:2] and not set(message_ids(api, new["id"])) & set(ids)
    ask(api, message="tres tokens=1", conversation_id=new["id"])
    assert asked_of_model(stack) == [*before[:2], ("user", "tres tokens=1")]
    assert told(api, first) == before
    named = api.post(f"/api/conversations/{first}/fork", json={"message_id": ids[2], "title": "otra"}).json()
    assert named["title"] == "otra" and told(api, named["id"]) == before[:3]
    assert api.delete(f"/api/conversations/{first}").status_code == 204
    assert api.get(f"/api/conversations/{new['id']}").json()["forked_from"] is None
    assert len(told(api, new["id"])) == 4


def test_a_fork_has_the_summary_of_what_it_begins_with(api: httpx.Client, stack: Installation) -> None:
    conversation = ask(api, message="uno tokens=1")["conversation_id"]
    ask(api, message="dos tokens=1", conversation_id=conversation)

    def history(of: str) -> History:
        return in_database(stack, lambda database: Turns(database).history(uuid.UUID(of), "local", 10))

    first_answer = history(conversation).messages[1].position
    assert in_database(
        stack,
        lambda database: Conversations(database).summarise(uuid.UUID(conversation), "local", "dijo uno", first_answer),
    )
    ids = message_ids(api, conversation)
    for last, summary, left in ((0, None, ["uno tokens=1"]), (1, "dijo uno", []), (2, "dijo uno", ["dos tokens=1"])):
        new = api.post(f"/api/conversations/{conversation}/fork", json={"message_id": ids[last]}).json()["id"]
        known = history(new)
        assert known.summary == summary and [one.content for one in known.messages] == left


def test_a_fork_while_a_turn_runs_has_its_question_and_the_turn_goes_on(api: httpx.Client, stack: Installation) -> None:
    with under_way(api) as start, httpx.Client(base_url=stack.url("chat-api"), timeout=30) as other:
        eventually(lambda: message_ids(other, start["conversation_id"]), 5, "the question is written")
        question = message_ids(other, start["conversation_id"])[0]
        forked = other.post(f"/api/conversations/{start['conversation_id']}/fork", json={"message_id": question})
        assert forked.status_code == 201 and [role for role, _ in told(other, forked.json()["id"])] == ["user"]
        assert other.get(f"/api/runs/{start['run_id']}").json()["status"] == "running"


def test_an_answer_made_again_takes_the_place_of_the_old_one(api: httpx.Client, stack: Installation) -> None:
    first = ask(api, message="uno tokens=1")
    ask(api, message="dos tokens=2", conversation_id=(conversation := first["conversation_id"]))
    ids = message_ids(api, conversation)
    path = f"/api/conversations/{conversation}/regenerate"
    again = api.post(path, json={"message_id": ids[-1], "model": "phi4_fast"})
    assert again.status_code == 200, again.text
    assert again.json()["model"] == "phi4_fast" and again.json()["conversation_id"] == conversation
    assert asked_of_model(stack) == [("user", "uno tokens=1"), ("assistant", "t0 "), ("user", "dos tokens=2")]
    now = api.get(f"/api/conversations/{conversation}").json()["messages"]
    assert [one["id"] for one in now[:3]] == ids[:3] and now[3]["id"] not in ids and len(now) == 4
    assert now[3]["model"] == "phi4_fast" and now[3]["run_id"] == again.json()["run_id"]
    streamed = api.post(path, json={"stream": True})
    events = [json.loads(line[6:]) for line in streamed.text.splitlines() if line.startswith("data: ")]
    assert [one["type"] for one in events] == ["start", "token", "token", "end"]
    assert api.post(path).status_code == 200 and len(told(api, conversation)) == 4
    story = api.get(f"/api/runs/{again.json()['run_id']}").json()
    assert story["kind"] == "chat" and story["status"] == "completed" and story["requested_model"] == "phi4_fast"


def test_an_answer_that_fails_when_made_again_keeps_the_old_one(api: httpx.Client, stack: Installation) -> None:
    run = written_turn(stack, "local", "hola tokens=9 error=3", "la de antes")
    path = f"/api/conversations/{run.conversation_id}/regenerate"
    broken = api.post(path, json={"stream": True})
    assert '"type":"error"' in broken.text.replace(" ", "") and "engine_died" in broken.text
    faulty(api.post(path, json={"model": "nobody"}), 404, "model")
    assert told(api, run.conversation_id) == [("user", "hola tokens=9 error=3"), ("assistant", "la de antes")]


def test_a_question_that_got_no_answer_is_answered(api: httpx.Client) -> None:
    refused = api.post("/api/chat", json={"message": "hola tokens=1", "model": "nobody"})
    conversation = api.get(f"/api/runs/{refused.headers['x-capibara6-run-id']}").json()["conversation_id"]
    assert told(api, conversation) == [("user", "hola tokens=1")]
    assert api.post(f"/api/conversations/{conversation}/regenerate").status_code == 200
    assert told(api, conversation) == [("user", "hola tokens=1"), ("assistant", "t0 ")]


def test_an_answer_is_made_again_once_at_a_time(api: httpx.Client, stack: Installation) -> None:
    conversation = ask(api, message="hola tokens=8 every=0.1")["conversation_id"]
    path, replies = f"{stack.url('chat-api')}/api/conversations/{conversation}/regenerate", []
    asking = [threading.Thread(target=lambda: replies.append(httpx.post(path, timeout=30))) for _ in range(5)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert sorted(reply.status_code for reply in replies) == [200, 409, 409, 409, 409]
    faulty(next(reply for reply in replies if reply.status_code == 409), 409, "conversation_id", "turn_under_way")
    assert len(told(api, conversation)) == 2
    with under_way(api, conversation_id=conversation):
        faulty(httpx.post(path, timeout=30), 409, "conversation_id", "turn_under_way")


def test_somebody_elses_conversation_is_not_there(api: httpx.Client, stack: Installation) -> None:
    theirs = written_turn(stack, "eva", "secreto", "respuesta")
    mine = ask(api, message="hola tokens=1")["conversation_id"]
    path, message_id = f"/api/conversations/{theirs.conversation_id}", str(theirs.messages[0].id)
    for reply in (
        api.get(path),
        api.patch(path, json={"title": "mía"}),
        api.delete(path),
        api.get(f"{path}/export"),
        api.get(f"{path}/export", params={"format": "markdown"}),
        api.post(f"{path}/fork", json={"message_id": message_id}),
        api.post(f"{path}/regenerate"),
        api.post(f"{path}/regenerate", json={"message_id": message_id}),
        api.post("/api/chat", json={"message": "hola", "conversation_id": str(theirs.conversation_id)}),
    ):
        faulty(reply, 404, "conversation_id", "conversation_not_found")
    for action in ("fork", "regenerate"):
        faulty(api.post(f"/api/conversations/{mine}/{action}", json={"message_id": message_id}), 404, "message_id")
    assert api.get("/api/conversations/search", params={"q": "secreto"}).json()["results"] == []
    listed = api.get("/api/conversations", params={"limit": 200}).json()["conversations"]
    assert str(theirs.conversation_id) not in {one["id"] for one in listed}


# 0001-01-01T00:00:00+14:00: a moment that is none in UTC
BEFORE_TIME = base64.urlsafe_b64encode(f"0001-01-01T00:00:00+14:00|{uuid.UUID(int=0)}".encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("method", "path", "request_of", "status", "param"),
    [
        ("GET", "", {"params": {"q": " "}}, 422, "query.q"),
        ("GET", "", {"params": {"q": "a\x00b"}}, 422, "query.q"),
        ("GET", "", {"params": {"q": "x" * 201}}, 422, "query.q"),
        ("GET", "", {"params": {"cursor": "nonsense"}}, 422, "cursor"),
        ("GET", "", {"params": {"cursor": BEFORE_TIME}}, 422, "cursor"),
        ("GET", "", {"params": {"limit": 0}}, 422, "query.limit"),
        ("GET", "/search", {}, 422, "query.q"),
        ("GET", "/search", {"params": {"q": ""}}, 422, "query.q"),
        ("GET", "/search", {"params": {"q": "a\x00b"}}, 422, "query.q"),
        ("GET", "/search", {"params": {"q": "x" * 1001}}, 422, "query.q"),
        ("GET", "/search", {"params": {"q": "x", "limit": 51}}, 422, "query.limit"),
        ("GET", "/nonsense", {}, 422, "path.conversation_id"),
        ("PATCH", "/nonsense", {"json": {"title": "x"}}, 422, "path.conversation_id"),
        ("PATCH", "/{id}", {"json": {}}, 422, "title"),
        ("PATCH", "/{id}", {"json": {"title": " \n"}}, 422, "title"),
        ("PATCH", "/{id}", {"json": {"title": "x" * 201}}, 422, "title"),
        ("PATCH", "/{id}", {"json": {"title": "a\x00b"}}, 422, "title"),
        ("PATCH", "/{id}", {"content": b'{"title": "\\ud800"}'}, 422, "title"),
        ("PATCH", "/{id}", {"json": {"title": 5}}, 422, "title"),
        ("PATCH", "/{id}", {"content": b"{"}, 400, None),
        ("DELETE", "/nonsense", {}, 422, "path.conversation_id"),
        ("GET", "/{id}/export", {"params": {"format": "pdf"}}, 422, "query.format"),
        ("POST", "/{id}/fork", {"json": {}}, 422, "message_id"),
        ("POST", "/{id}/fork", {"json": {"message_id": "nonsense"}}, 422, "message_id"),
        ("POST", "/{id}/fork", {"json": {"message_id": str(uuid.uuid4())}}, 404, "message_id"),
        ("POST", "/{id}/fork", {"json": {"message_id": "{other}"}}, 404, "message_id"),
        ("POST", "/{id}/fork", {"json": {"message_id": "{first}", "title": ""}}, 422, "title"),
        ("POST", "/{id}/regenerate", {"json": {"message_id": "{first}"}}, 409, "message_id"),
        ("POST", "/{id}/regenerate", {"json": {"message_id": "{other}"}}, 404, "message_id"),
        ("POST", "/{id}/regenerate", {"json": {"model": 5}}, 422, "model"),
        ("POST", "/{id}/regenerate", {"json": {"stream": "yes"}}, 422, "stream"),
    ],
)
def test_bad_input_names_the_field(  # noqa: PLR0917
    api: httpx.Client, method: str, path: str, request_of: dict[str, Any], status: int, param: str | None
) -> None:
    mine, other = (ask(api, message="hola tokens=1")["conversation_id"] for _ in range(2))
    names = {"{id}": mine, "{other}": message_ids(api, other)[0], "{first}": message_ids(api, mine)[0]}
    for name, value in names.items():
        path = path.replace(name, value)
        body = request_of.get("json")
        request_of = request_of | ({"json": json.loads(json.dumps(body).replace(name, value))} if body else {})
    headers = {"content-type": "application/json"} if "content" in request_of else {}
    reply = api.request(method, f"/api/conversations{path}", headers=headers, **request_of)
    faulty(reply, status, param)
    assert [role for role, _ in told(api, mine)] == ["user", "assistant"]


def test_a_question_is_no_answer_to_make_again(api: httpx.Client) -> None:
    refused = api.post("/api/chat", json={"message": "hola", "model": "nobody"})
    conversation = api.get(f"/api/runs/{refused.headers['x-capibara6-run-id']}").json()["conversation_id"]
    question = message_ids(api, conversation)[0]
    path = f"/api/conversations/{conversation}/regenerate"
    faulty(api.post(path, json={"message_id": question}), 422, "message_id", "not_an_answer")
