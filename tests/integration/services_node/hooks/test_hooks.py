"""Who is told of ended runs, from the request to the receiver, on a real Postgres."""

from __future__ import annotations

import asyncio
import signal
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest
from history_house import ask, faulty, in_database
from installation import Installation, eventually
from receiver import Receiver, Told

from db.engine import Database
from db.records import FinishedRun, NewRun
from db.turns import Turns
from wire.ids import uuid7

ENDED = {"completed", "failed", "cancelled", "crashed"}
EVERY = ["run.completed", "run.failed", "run.cancelled"]


def subscribed(api: httpx.Client, receiver: Receiver, path: str, **more: Any) -> str:
    reply = api.post("/api/hooks", json={"url": receiver.url + path, "events": EVERY} | more)
    assert reply.status_code == 201, reply.text
    hook = reply.json()
    receiver.secrets.add(hook["secret"])
    return hook["id"]


def begun(api: httpx.Client, callback_url: str | None, headers: dict[str, str] | None = None, **asked: Any) -> str:
    body = {"parameters": {"message": "hola tokens=2"} | asked, "callback_url": callback_url}
    reply = api.post("/api/flows/chat/runs", json=body, headers=headers or {})
    assert reply.status_code == 202, reply.text
    assert reply.json()["status_url"] == reply.json()["location"] == f"/api/runs/{reply.json()['run_id']}"
    return reply.json()["run_id"]


def told(receiver: Receiver, path: str, most: int = 1, seconds: float = 20) -> list[Told]:
    return eventually(lambda: len(found := receiver.at(path)) >= most and found, seconds, f"{path} is told") or []


def callback_of(api: httpx.Client, run_id: str, state: str) -> dict[str, Any]:
    found = eventually(
        lambda: (one := api.get(f"/api/runs/{run_id}").json()["callback"])["state"] == state and one, 20, state
    )
    assert found
    return found


def test_a_hook_is_told_of_a_chat_signed_with_its_own_secret(api: httpx.Client, receiver: Receiver) -> None:
    path = f"/{uuid.uuid4().hex}"
    hook_id = subscribed(api, receiver, path, kinds=["chat"], description="Los chats")
    reply = ask(api, message="hola tokens=2")
    (event,) = told(receiver, path)
    assert event.verified and event.body["type"] == "run.completed" and uuid.UUID(event.id).version == 7
    run = event.run
    assert run["id"] == reply["run_id"] and run["response"] == reply["response"] and run["origin"] == "chat"
    assert run["conversation_id"] == reply["conversation_id"] and run["error"] is None and run["ended_at"]
    assert run["url"] == f"/api/runs/{run['id']}" and run["status"] == "completed" and run["kind"] == "chat"
    (hook,) = api.get("/api/hooks").json()["hooks"]
    assert hook["id"] == hook_id and "secret" not in hook and hook["description"] == "Los chats"
    hook = eventually(
        lambda: (one := api.get(f"/api/hooks/{hook_id}").json())["pending"] == 0 and one, 10, "nothing waits for it"
    )
    assert hook and hook["state"] == "active" and hook["last_error"] is None
    assert api.delete(f"/api/hooks/{hook_id}").status_code == 204
    faulty(api.get(f"/api/hooks/{hook_id}"), 404, code="hook_not_found")
    faulty(api.delete(f"/api/hooks/{hook_id}"), 404, code="hook_not_found")


def test_a_run_that_n8n_asks_for_says_so_everywhere(api: httpx.Client, receiver: Receiver, stack: Installation) -> None:
    path, execution = f"/{uuid.uuid4().hex}", uuid.uuid4().hex
    headers = {"x-capibara6-n8n-execution": execution, "x-capibara6-n8n-workflow": "aB3"}
    run_id = begun(api, receiver.url + path, headers)
    (event,) = told(receiver, path)
    assert event.verified and event.run["id"] == run_id and event.run["origin"] == "n8n"
    assert event.run["n8n"] == {"execution_id": execution, "workflow_id": "aB3"}
    callback = callback_of(api, run_id, "delivered")
    assert callback == {"url": receiver.url + path, "state": "delivered", "attempts": 1, "last_error": None}
    run = eventually(
        lambda: (one := api.get(f"/api/runs/{run_id}").json())["prefect_recorded"] and one, 30, "Prefect has it"
    )
    assert run and run["origin"] == "n8n" and run["response"] == "t0 t1 "
    flow_run_id = run["prefect_flow_run_id"]
    assert run["links"] == {
        "prefect": f"{stack.url('prefect-server')}/runs/flow-run/{flow_run_id}",
        "n8n": f"http://127.0.0.1:{stack.port('n8n')}/workflow/aB3/executions/{execution}",
    }
    flow_run = httpx.get(f"{stack.url('prefect-server')}/api/flow_runs/{flow_run_id}").json()
    assert {f"run:{run_id}", "origin:n8n", f"n8n:{execution}"} <= set(flow_run["tags"])
    of_n8n = api.get("/api/runs", params={"origin": "n8n"}).json()["runs"]
    assert run_id in {one["id"] for one in of_n8n} and {one["origin"] for one in of_n8n} == {"n8n"}
    assert run_id not in {one["id"] for one in api.get("/api/runs", params={"origin": "api"}).json()["runs"]}
    faulty(api.get("/api/runs", params={"origin": "elsewhere"}), 422, "query.origin")
    shown = stack.run("-m", "wire.terminal_run", "show", run_id)
    assert f"from n8n, execution {execution} of workflow aB3" in shown.stdout and flow_run_id in shown.stdout


def test_a_receiver_in_trouble_is_told_again_and_its_trouble_is_told(api: httpx.Client, receiver: Receiver) -> None:
    path, broken = f"/{uuid.uuid4().hex}", [(500, "text/html", b"<html>"), (302, "text/plain", b"")]
    receiver.answer = lambda number, _: broken[number - 1] if number <= 2 else (204, "text/plain", b"")
    run_id = begun(api, receiver.url + path)
    first = told(receiver, path)[0]
    trouble = eventually(
        lambda: (one := api.get(f"/api/runs/{run_id}").json()["callback"])["last_error"] and one, 10, "it is told"
    )
    assert trouble and trouble["state"] == "pending" and trouble["last_error"].startswith("answered ")
    all_of_it = told(receiver, path, 3)
    assert {one.id for one in all_of_it} == {first.id} and all(one.verified for one in all_of_it)
    assert callback_of(api, run_id, "delivered")["attempts"] == 3


def test_a_hook_that_fails_says_why_and_one_whose_address_has_gone_goes_too(
    api: httpx.Client, receiver: Receiver
) -> None:
    failing, gone = f"/{uuid.uuid4().hex}", f"/{uuid.uuid4().hex}"
    receiver.answer = lambda _n, told: (410, "", b"") if told.path == gone else (404, "text/html", b"<html>")
    hook_id, gone_id = subscribed(api, receiver, failing), subscribed(api, receiver, gone)
    ask(api, message="hola tokens=1")
    hook = eventually(
        lambda: (one := api.get(f"/api/hooks/{hook_id}").json())["state"] == "failing" and one, 10, "it fails"
    )
    assert hook and hook["last_error"] == "answered 404 with a page of HTML" and hook["pending"] >= 1
    eventually(lambda: api.get(f"/api/hooks/{gone_id}").status_code == 404, 10, "the hook has gone")


def test_a_slow_receiver_holds_up_nobody_else(api: httpx.Client, receiver: Receiver) -> None:
    slow, quick = f"/{uuid.uuid4().hex}", f"/{uuid.uuid4().hex}"
    let = asyncio.Event()  # is never set: a flag that the threads look at

    def answer(_number: int, one: Told) -> tuple[int, str, bytes]:
        if one.path == slow:
            eventually(let.is_set, 25, "it is let go")
        return 200, "", b""

    receiver.answer = answer
    subscribed(api, receiver, slow)
    subscribed(api, receiver, quick)
    ids = [ask(api, message="hola tokens=1")["run_id"] for _ in range(3)]
    assert [one.run["id"] for one in told(receiver, quick, 3)] == ids
    assert {one.run["id"] for one in receiver.at(slow)} == {ids[0]}
    let.set()
    assert [one.run["id"] for one in told(receiver, slow, 3)][-1] == ids[-1]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://127.0.0.1/", "invalid_url"),
        ("http://ana:secret@127.0.0.1/", "url_with_credentials"),
        ("http://10.0.0.7/ended", "address_refused"),
        ("http://169.254.169.254/latest", "address_refused"),
        ("http://no-such-host.invalid/", "host_not_found"),
        ("nonsense", "invalid_url"),
        ("http://127.0.0.1/\x00", "invalid_field"),
        (7, "invalid_field"),
    ],
)
def test_an_address_that_may_not_be_told_is_refused_and_nothing_begins(api: httpx.Client, url: Any, code: str) -> None:
    run_id = str(uuid.uuid4())
    reply = api.post(
        "/api/flows/chat/runs",
        json={"parameters": {"message": "hola"}, "callback_url": url},
        headers={"x-capibara6-run-id": run_id},
    )
    assert faulty(reply, 422, "callback_url", code)
    assert api.get(f"/api/runs/{run_id}").status_code == 404
    faulty(api.post("/api/hooks", json={"url": url, "events": EVERY}), 422, "url", code)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"events": EVERY}, "url"),
        ({"url": "http://127.0.0.1/"}, "events"),
        ({"url": "http://127.0.0.1/", "events": []}, "events"),
        ({"url": "http://127.0.0.1/", "events": ["run.begun"]}, "events.0"),
        ({"url": "http://127.0.0.1/", "events": EVERY, "kinds": [""]}, "kinds.0"),
        ({"url": "http://127.0.0.1/", "events": EVERY, "kinds": "chat"}, "kinds"),
        ({"url": "http://127.0.0.1/", "events": EVERY, "kinds": ["chats"]}, "kinds.0"),
        ({"url": "http://127.0.0.1/", "events": EVERY, "description": "a\x00"}, "description"),
        ([], "body"),
    ],
)
def test_a_wrong_hook_names_the_field(api: httpx.Client, body: Any, param: str) -> None:
    faulty(api.post("/api/hooks", json=body), 422, param)
    assert api.get("/api/hooks").json() == {"hooks": []}


def test_who_repeats_a_request_with_its_key_is_told_of_the_same_run(api: httpx.Client, receiver: Receiver) -> None:
    path, headers = f"/{uuid.uuid4().hex}", {"idempotency-key": uuid.uuid4().hex}
    run_id = begun(api, receiver.url + path, headers)
    assert begun(api, receiver.url + path, headers) == run_id
    assert begun(api, receiver.url + path + "/again", headers) == run_id
    other = {"parameters": {"message": "adiós tokens=2"}, "callback_url": receiver.url + path}
    faulty(api.post("/api/flows/chat/runs", json=other, headers=headers), 409, code="idempotency_key_used")
    callback_of(api, run_id, "delivered")
    told(receiver, f"{path}/again", 1, 10)
    assert begun(api, receiver.url + path + "/late", headers) == run_id
    told(receiver, f"{path}/late", 1, 10)
    for place in ("", "/again", "/late"):
        assert [one.run["id"] for one in receiver.at(path + place)] == [run_id]
    callbacks = api.get(f"/api/runs/{run_id}").json()["callbacks"]
    assert [callback["url"].removeprefix(receiver.url + path) for callback in callbacks] == ["", "/again", "/late"]


@pytest.mark.parametrize("events", [pytest.param(100), pytest.param(1000, marks=pytest.mark.full)], ids=["100", "1000"])
def test_nothing_is_lost_or_out_of_order_while_the_receiver_is_down_and_the_api_is_killed(
    api: httpx.Client, receiver: Receiver, stack: Installation, events: int
) -> None:
    """Some are taken and answered with an error: they come again, with the same id."""
    path, rejected = f"/{uuid.uuid4().hex}", set[str]()

    def answer(number: int, one: Told) -> tuple[int, str, bytes]:
        if number % 29 == 0 and one.id not in rejected:
            rejected.add(one.id)
            return 500, "text/html", b"<html>"
        return 200, "", b""

    receiver.answer = answer
    subscribed(api, receiver, path, kinds=["warm-up"])
    receiver.down()
    wanted = in_database(stack, lambda database: ended(database, events // 2))
    eventually(lambda: api.get("/api/hooks").json()["hooks"][0]["state"] == "failing", 10, "it was tried")
    receiver.up()
    told(receiver, path, events // 8, 60)
    stack.stop("chat-api", signal.SIGKILL)
    wanted += in_database(stack, lambda database: ended(database, events - events // 2))
    stack.start_chat()
    eventually(lambda: len({one.id for one in receiver.at(path)}) >= events, 120, "all are told")
    eventually(lambda: api.get("/api/hooks").json()["hooks"][0]["pending"] == 0, 10, "nothing waits")
    came = receiver.at(path)
    assert all(one.verified for one in came)
    first_of = list(dict.fromkeys(one.run["id"] for one in came))
    assert first_of == wanted, "in the order in which the runs ended"
    assert len({(one.id, one.run["id"]) for one in came}) == events
    places = [wanted.index(one.run["id"]) for one in came]
    assert all(after - before <= 1 for before, after in pairwise(places))
    assert len(came) > events and rejected


async def ended(database: Database, count: int) -> list[str]:
    """Runs that ended, one after the other."""
    turns, now, ids = Turns(database), datetime.now(UTC), []
    run = NewRun(uuid7(), "local", "warm-up", None, False, "", "0" * 32, "s", uuid7(), None, ())
    for _ in range(count):
        one = replace(run, id=uuid7())
        await turns.begin(one)
        await turns.finish(
            FinishedRun(
                one.id, one.owner, None, "completed", uuid7(), "", True, None, None, None, None, None, None, None,
                1.0, None, None, now, now, (),
            )
        )  # fmt: skip
        ids.append(str(one.id))
    return ids
