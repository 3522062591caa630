"""Chats that are spoken, with a fake TTS server behind them."""

from __future__ import annotations

import base64
import io
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import httpx
import pytest
from installation import Installation, eventually


@pytest.fixture
def api(stack: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url("chat-api"), timeout=30) as client:
        yield client


def played(data: bytes) -> float:
    """Seconds that a player hears."""
    with av.open(io.BytesIO(data)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def events(reply: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in reply.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line[6:])


def run_of(api: httpx.Client, run_id: str) -> dict[str, Any]:
    return api.get(f"/api/runs/{run_id}").json()


def test_the_first_sentence_is_heard_while_the_text_is_still_being_written(
    api: httpx.Client, stack: Installation
) -> None:
    word = uuid.uuid4().hex
    asked = {"message": f"says=(Uno dos tres. Cuatro cinco. Seis) gate={word}", "speak": {"voice": "em_alex"}}
    told, heard_first = list[dict[str, Any]](), False
    with api.stream("POST", "/api/chat/stream", json=asked) as reply:
        for event in events(reply):
            told.append(event)
            if event["type"] == "audio" and not heard_first:
                heard_first = True  # the model still waits for its gate
                httpx.post(f"{stack.url('model-server')}/watch/gate/{word}")
    audio, end = [event for event in told if event["type"] == "audio"], told[-1]
    assert heard_first and end["type"] == "end" and all({"content", "done"} <= set(event) for event in told)
    assert [event["text"] for event in audio if event["text"]] == ["Uno dos tres.", "Cuatro cinco.", "Seis"]
    assert [event["sequence"] for event in audio] == list(range(1, len(audio) + 1))
    whole = api.get(end["audio_url"])
    assert whole.headers["content-type"] == "audio/mpeg" and whole.headers["content-disposition"].startswith("inline")
    assert whole.content == b"".join(base64.b64decode(event["audio"]) for event in audio)
    assert played(whole.content) == pytest.approx(0.6, abs=0.1)
    assert end["audio"]["status"] == "completed" and end["audio"]["voice"] == "em_alex" and not end["audio"]["cut"]
    run = run_of(api, end["run_id"])
    assert [(step["name"], step["status"]) for step in run["steps"]] == [
        ("model_call", "completed"), ("speak", "completed"),
    ]  # fmt: skip
    assert [file["id"] for file in run["files"]] == [end["audio"]["file_id"]]


def test_an_answer_is_whole_when_its_speech_fails(api: httpx.Client) -> None:
    reply = api.post("/api/chat", json={"message": "says=(Va bien. Y breaks aquí. Sigue.)", "speak": True}).json()
    assert reply["response"].split() == ["Va", "bien.", "Y", "breaks", "aquí.", "Sigue."]
    assert reply["audio_url"] is None and not {"error", "detail", "message"} & set(reply)
    assert reply["audio"]["status"] == "failed" and reply["audio"]["code"] == "tts_server_disconnected"
    run = run_of(api, reply["run_id"])
    assert run["status"] == "completed" and run["files"] == []
    assert [(step["name"], step["status"]) for step in run["steps"]][-1] == ("speak", "failed")


def test_speech_is_a_task_of_the_flow_run_and_its_failure_is_seen_there(api: httpx.Client, stack: Installation) -> None:
    stack.wait_for_flows()  # an earlier test may have started the chat API anew
    word, run_id = uuid.uuid4().hex, str(uuid.uuid4())
    prefect = f"{stack.url('prefect-server')}/api"
    # No sentence ends before the gate: nothing is spoken before the flow run surely takes steps as tasks.
    asked = {"message": f"says=(Espera refuse:422 ya) gate={word}", "speak": True}

    def flow_run() -> dict[str, Any]:
        flow_run_id = run_of(api, run_id).get("prefect_flow_run_id")
        return httpx.get(f"{prefect}/flow_runs/{flow_run_id}").json() if flow_run_id else {}

    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(api.post, "/api/chat", json=asked, headers={"x-capibara6-run-id": run_id})
        try:
            eventually(lambda: flow_run().get("state_type") == "RUNNING", 20, "its flow run runs")
            time.sleep(0.5)  # its engine calls it once its state is written
        finally:
            httpx.post(f"{stack.url('model-server')}/watch/gate/{word}")
        assert reply.result().json()["audio"]["code"] == "refused"
    eventually(lambda: run_of(api, run_id)["prefect_recorded"], 20, "its end is recorded")
    shown = flow_run()
    assert shown["state_name"] == "CompletedWithoutSpeech"
    wanted = {"flow_runs": {"id": {"any_": [shown["id"]]}}}

    def ended() -> list[dict[str, Any]]:
        """Prefect writes task runs down some time after the flow run's end, from the events about them."""
        tasks: list[dict[str, Any]] = httpx.post(f"{prefect}/task_runs/filter", json=wanted).json()
        return tasks if tasks and all(task["state_type"] in ("COMPLETED", "FAILED") for task in tasks) else []

    tasks = eventually(ended, 20, "its task is recorded")
    assert [(task["name"].partition("-")[0], task["state_type"]) for task in tasks] == [("speak", "FAILED")]


def test_a_client_that_leaves_ends_the_speech(api: httpx.Client, stack: Installation) -> None:
    word, run_id = uuid.uuid4().hex, str(uuid.uuid4())
    tts = f"{stack.url('tts-server')}/watch"
    asked = {"message": f"says=(Uno hold:{word} dos.)", "speak": True}
    with api.stream("POST", "/api/chat/stream", json=asked, headers={"x-capibara6-run-id": run_id}) as reply:
        told = events(reply)  # one that is dropped closes its reply
        while next(told)["type"] != "audio":
            continue
        assert httpx.get(tts).json()["open"] == 1
    eventually(lambda: httpx.get(tts).json()["open"] == 0, 5, "nothing is spoken any more")
    run = eventually(lambda: (found := run_of(api, run_id))["status"] != "running" and found, 5, "the run ended")
    assert run["status"] == "cancelled" and run["files"] == []
    [answer] = [message for message in run["messages"] if message["role"] == "assistant"]
    assert answer["complete"]  # its text was
