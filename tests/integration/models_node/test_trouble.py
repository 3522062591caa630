"""A real engine in trouble: wedged, killed before its first token, unloaded while it answers.

In this order each test finds the engine that the one before it left loaded."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest

from tests.integration.models_node.running import model_server

MODEL = "phi4_fast"
SECONDS = 180.0  # a cold load on a busy machine included


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Memory for one engine, and little patience with a silent one."""
    settings = {
        "models_memory_budget_bytes": str(int(3.4 * 2**30)),
        "engine_quiet_seconds": "2",
        "engine_probe_timeout_seconds": "6",
        "engine_stop_timeout_seconds": "5",  # a stopped process takes all of it
    }
    with (
        model_server(tmp_path_factory.mktemp("trouble"), **settings) as url,
        httpx.Client(base_url=url, timeout=SECONDS, trust_env=False) as client,
    ):
        yield client


def until(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def body(text: str, tokens: int, *, stream: bool = False) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": MODEL, "messages": [message], "max_tokens": tokens, "stream": stream, "ignore_eos": True}


def engine(server: httpx.Client) -> dict[str, Any]:
    [found] = server.get("/stats").raise_for_status().json()["engines"]
    return dict(found)


def working(server: httpx.Client) -> bool:
    return bool(engine(server)["in_flight"])


def generating(pid: int) -> list[psutil.Process]:
    """The engine's core and workers: of the processes below its warden those that are not its API server."""
    warden = psutil.Process(pid).parent()
    assert warden is not None
    found = [process for process in warden.children(recursive=True) if process.pid != pid]
    assert found
    return found


def events(reply: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in reply.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def test_a_wedged_engine_turns_health_red_ends_its_stream_and_is_replaced(server: httpx.Client) -> None:
    server.post(f"/models/{MODEL}/load").raise_for_status()
    first = engine(server)["pid"]
    with server.stream("POST", "/v1/chat/completions", json=body("Count", 2000, stream=True)) as reply:
        told = events(reply)
        next(told)
        for process in generating(first):
            process.send_signal(signal.SIGSTOP)  # its API server accepts, and nothing is generated any more
        until(lambda: server.get("/health/ready").status_code == 503, "health stayed green")
        assert "wedged" in server.get("/health/ready").text
        assert [event["error"]["code"] for event in told if "error" in event] == ["engine_died"]
    until(lambda: server.get("/health/ready").status_code == 200, "health stayed red")
    assert engine(server)["pid"] != first
    assert "capibara6_model_wedged_total" in server.get("/metrics").text
    server.post("/v1/chat/completions", json=body("Hi", 4)).raise_for_status()


def test_an_engine_killed_before_its_first_token_is_an_error_and_the_next_request_loads_again(
    server: httpx.Client,
) -> None:
    server.post(f"/models/{MODEL}/load").raise_for_status()
    pid = engine(server)["pid"]
    with ThreadPoolExecutor(1) as aside:
        asking = aside.submit(server.post, "/v1/chat/completions", json=body("all work and no play " * 600, 2))
        until(lambda: working(server), "it was never at work")
        psutil.Process(pid).kill()
        reply = asking.result()
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "engine_died"
    server.post("/v1/chat/completions", json=body("Hi", 4)).raise_for_status()


def test_unload_lets_an_answer_finish_first(server: httpx.Client) -> None:
    server.post(f"/models/{MODEL}/load").raise_for_status()
    answer = server.stream("POST", "/v1/chat/completions", json=body("Hi", 60, stream=True))
    with ThreadPoolExecutor(1) as aside, answer as reply:
        told = events(reply)
        next(told)
        unloading = aside.submit(server.post, f"/models/{MODEL}/unload")
        rest = list(told)
        assert rest[-1]["choices"][0]["finish_reason"] == "length"
        assert unloading.result().status_code == 200
    assert server.get("/stats").json()["models_loaded"] == []
