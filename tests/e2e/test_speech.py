"""Speech on the whole stack: Kokoro speaks chats while they are written, documents as files, and what is typed."""

from __future__ import annotations

import base64
import io
import json
import time
from typing import Any

import av
import httpx
import psutil

from tests.e2e.stack import MODEL_SECONDS, Stack, eventually

QUESTION = "Cuenta en dos frases cómo es Madrid."


def seconds_of(audio: bytes) -> float:
    """Of what a decoder makes of it. Raises av's error for what is no audio."""
    with av.open(io.BytesIO(audio)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def events_of(reply: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: {")]


def test_a_chat_is_spoken_while_it_is_written_and_kept_as_a_file(stack: Stack) -> None:
    body = {"message": QUESTION, "model": "phi4_fast", "max_tokens": 60, "speak": True, "tools": False}
    chat = stack.url("chat-api")
    with httpx.stream("POST", f"{chat}/api/chat/stream", json=body, timeout=MODEL_SECONDS) as reply:
        assert reply.status_code == 200, reply.read()
        events = events_of(reply)
    assert all({"content", "done"} <= event.keys() for event in events)
    assert (events[0]["type"], events[-1]["type"]) == ("start", "end")
    pieces = b"".join(base64.b64decode(event["audio"]) for event in events if event["type"] == "audio")
    whole = httpx.get(chat + events[-1]["audio_url"], timeout=30)
    assert whole.headers["content-type"] == "audio/mpeg"
    assert seconds_of(pieces) > 1
    assert abs(seconds_of(whole.content) - seconds_of(pieces)) < 0.5
    run = httpx.get(f"{chat}/api/runs/{events[0]['run_id']}", timeout=10).json()
    assert "speak" in [step["name"] for step in run["steps"]]


def test_a_document_is_spoken_by_a_run_of_prefects_with_progress(stack: Stack) -> None:
    chat = stack.url("chat-api")
    text = "# Informe\n\n" + "El servidor se reinició anoche y todo funciona otra vez. " * 14
    uploaded = httpx.post(f"{chat}/api/files", files={"file": ("informe.md", text.encode())}, timeout=30).json()
    asked = {"parameters": {"file_id": uploaded["id"], "format": "opus"}}
    run_id = httpx.post(f"{chat}/api/flows/speech/runs", json=asked, timeout=30).json()["run_id"]

    def ended() -> dict[str, Any] | None:
        run: dict[str, Any] = httpx.get(f"{chat}/api/runs/{run_id}", timeout=10).json()
        return run if run["status"] not in {"queued", "running"} else None

    run = eventually(ended, 240, "the document is spoken")
    assert (run["status"], run["kind"]) == ("completed", "speech-batch"), run["error"]
    assert run["progress"]["done"] == run["progress"]["of"] >= 1
    [audio] = [file for file in run["files"] if file["name"].endswith((".opus", ".ogg"))]
    heard = httpx.get(f"{chat}/api/files/{audio['id']}/content", timeout=30).content
    assert seconds_of(heard) > 20


def test_what_is_typed_is_spoken_into_a_file(stack: Stack) -> None:
    target = stack.root / "saludo.wav"
    said = stack.ok("say", "Good morning, the meeting starts at 9:30.", "-o", str(target), seconds=60)
    assert "engine kokoro · voice af_heart" in said.stdout + said.stderr
    assert 1.5 < seconds_of(target.read_bytes()) < 8
    target.unlink()


def test_piper_speaks_where_it_is_asked_for_and_only_what_it_can(stack: Stack) -> None:
    speech = f"{stack.url('tts-server')}/v1/audio/speech"
    said = httpx.post(speech, json={"model": "piper", "input": "The meeting starts now."}, timeout=60)
    assert (said.status_code, said.headers["x-capibara6-engine"]) == (200, "piper"), said.text
    assert seconds_of(said.content) > 0.5
    refused = httpx.post(speech, json={"model": "coqui", "input": "Hola."}, timeout=60)
    assert refused.status_code == 404
    assert "./capibara6 install --tts coqui" in refused.json()["error"]["message"]


def test_an_engine_that_dies_in_mid_stream_breaks_the_stream_and_speaks_again(stack: Stack) -> None:
    speech = f"{stack.url('tts-server')}/v1/audio/speech"
    body = {"input": "Una frase bastante larga que se oye durante un buen rato. " * 12, "response_format": "wav"}
    broken = False
    with httpx.stream("POST", speech, json=body, timeout=60) as reply:
        assert reply.status_code == 200
        try:
            for number, _ in enumerate(reply.iter_bytes(4096)):
                if number == 0:
                    kill_kokoro(stack)
        except httpx.RemoteProtocolError:
            broken = True
    assert broken, "its decoder must notice"
    began = time.monotonic()
    assert httpx.post(speech, json={"input": "Otra vez."}, timeout=60).status_code == 200
    assert time.monotonic() - began < 60


def kill_kokoro(stack: Stack) -> None:
    server = stack.status()["tts-server"]["pid"]
    for process in psutil.Process(server).children():
        if "services_node.tts_server.engines.kokoro" in process.cmdline():
            process.kill()
            return
    raise AssertionError("Kokoro has no process")
