"""The flow `speech`, with real Postgres, Prefect and worker, and a fake TTS server."""

from __future__ import annotations

import io
import signal
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import av
import httpx
import pytest
from installation import Installation, eventually

ENDED = {"completed", "failed", "cancelled", "crashed"}


@pytest.fixture
def api(stack: Installation) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url("chat-api"), timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def worker(stack: Installation) -> Iterator[None]:
    stack.start("flow-worker")

    def listens() -> bool:
        with socket.create_connection(("127.0.0.1", stack.port("flow-worker")), 1):
            return True

    eventually(listens, 90, "the worker's deployments are there")
    yield
    stack.stop("flow-worker")


def ask(api: httpx.Client, **parameters: Any) -> httpx.Response:
    return api.post("/api/flows/speech/runs", json={"parameters": parameters})


def begun(api: httpx.Client, **parameters: Any) -> str:
    reply = ask(api, **parameters)
    assert reply.status_code == 202, reply.text
    return reply.json()["run_id"]


def story(api: httpx.Client, run_id: str) -> dict[str, Any]:
    return api.get(f"/api/runs/{run_id}").json()


def ended(api: httpx.Client, run_id: str) -> dict[str, Any]:
    found = eventually(lambda: (run := story(api, run_id))["status"] in ENDED and run, 90, "the run ended")
    assert found
    return found


def upload(api: httpx.Client, name: str, data: bytes) -> str:
    return api.post("/api/files", files={"file": (name, data)}).json()["id"]


def played(api: httpx.Client, run: dict[str, Any], name: str) -> float:
    [url] = [file["url"] for file in run["files"] if file["name"] == name]
    with av.open(io.BytesIO(api.get(url).content)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def test_a_text_a_message_and_a_runs_answer_are_spoken_beside_the_chat(api: httpx.Client) -> None:
    said = api.post("/api/chat", json={"message": "says=(Uno dos tres.)"}).json()
    kept = api.get(f"/api/conversations/{said['conversation_id']}").json()["messages"]
    for parameters, name, seconds in (
        ({"text": "Uno dos.", "format": "wav"}, "speech.wav", 0.2),
        ({"message_id": kept[1]["id"]}, "message.mp3", 0.3),
        ({"run_id": said["run_id"], "format": "opus", "captions": True}, "answer.opus", 0.3),
    ):
        run = ended(api, begun(api, **parameters))
        assert (run["status"], run["kind"], run["progress"]) == ("completed", "speech", {"done": 1, "of": 1})
        assert played(api, run, name) == pytest.approx(seconds, abs=0.1)
    [captions] = [file["url"] for file in run["files"] if file["name"] == "captions.json"]
    assert [word["word"] for word in api.get(captions).json()["words"]] == ["Uno", "dos", "tres."]


def test_what_cannot_be_spoken_is_refused_before_a_run_begins(api: httpx.Client) -> None:
    nobody = str(uuid.uuid4())
    pdf, empty = upload(api, "a.pdf", b"%PDF-1.7\n\xe2\xe3\xcf\xd3"), upload(api, "a.md", b" \n")
    for parameters, status, code in (
        ({}, 422, "missing_field"),
        ({"text": "a", "run_id": nobody}, 422, "ambiguous_source"),
        ({"text": " "}, 422, "nothing_to_say"),
        ({"text": "a", "speed": 9}, 422, "invalid_field"),
        ({"message_id": nobody}, 404, "message_not_found"),
        ({"run_id": nobody}, 404, "run_not_found"),
        ({"file_id": nobody}, 404, "file_not_found"),
        ({"file_id": pdf}, 422, "not_a_text"),
        ({"file_id": empty}, 422, "nothing_to_say"),
        ({"text": "a " * 200_001}, 422, "text_too_long"),
    ):
        reply = ask(api, **parameters)
        assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    run = ended(api, begun(api, text="mute"))
    assert (run["status"], run["error"]["code"]) == ("failed", "nothing_to_say")


@pytest.mark.usefixtures("worker")
def test_a_document_is_spoken_by_the_worker_with_its_progress_told_and_outlives_the_api(
    api: httpx.Client, stack: Installation
) -> None:
    word = uuid.uuid4().hex
    blocks = [f"Uno breaks_once:{word}. " + "Va. " * 350, f"Dos hold:{word}. " + "Va. " * 350, "Tres."]
    text = "\n\n".join(blocks)
    run_id = begun(api, file_id=upload(api, "Carta.md", text.encode()), format="wav")
    told = eventually(lambda: story(api, run_id)["progress"], 60, "a part is told")
    assert told == {"done": 1, "of": 2}
    stack.stop("chat-api", signal.SIGTERM)
    stack.start_chat()
    stack.wait_for_flows()
    assert story(api, run_id)["status"] == "running"
    artifacts = httpx.post(
        f"{stack.url('prefect-server')}/api/artifacts/filter",
        json={"artifacts": {"key": {"any_": [f"speech-{run_id}"]}}},
    ).json()
    assert [artifact["data"] for artifact in artifacts] == [50.0]
    httpx.post(f"{stack.url('tts-server')}/watch/gate/{word}")
    run = ended(api, run_id)
    assert (run["status"], run["kind"], run["progress"]) == ("completed", "speech-batch", {"done": 2, "of": 2})
    assert [step["name"] for step in run["steps"]] == ["part-1", "part-2"]
    assert played(api, run, "Carta.wav") == pytest.approx(len(text.split()) / 10, abs=0.1)


@pytest.mark.usefixtures("worker")
def test_a_document_that_is_cancelled_midway_stops_and_leaves_no_audio(api: httpx.Client, stack: Installation) -> None:
    watch, word = f"{stack.url('tts-server')}/watch", uuid.uuid4().hex
    text = "Uno y uno. " * 200 + f"\n\nDos hold:{word}."
    run_id = begun(api, file_id=upload(api, "a.txt", text.encode()))
    eventually(lambda: httpx.get(watch).json()["open"] == 1 and story(api, run_id)["progress"], 60, "it is under way")
    assert api.post(f"/api/runs/{run_id}/cancel").json()["status"] == "cancelled"
    eventually(lambda: httpx.get(watch).json()["open"] == 0, 60, "nothing is spoken any more")
    flow_run = f"{stack.url('prefect-server')}/api/flow_runs/{story(api, run_id)['prefect_flow_run_id']}"
    eventually(lambda: httpx.get(flow_run).json()["state_type"] == "CANCELLED", 60, "its flow run is cancelled")
    run = story(api, run_id)
    assert run["status"] == "cancelled" and [file["name"] for file in run["files"]] == ["speech.json"]
