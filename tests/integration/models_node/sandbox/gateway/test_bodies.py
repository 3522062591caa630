"""Bodies that the control plane does not take, and that hold nobody up."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from models_node.sandbox.gateway.requests import BODY_BYTES
from stack.settings import Settings
from tests.integration.models_node.sandbox.gateway.stand_ins import RunningGateway

ASKED = {"templateID": "base", "timeout": 60}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with RunningGateway(Settings(home=tmp_path, sandbox_pool_size=1, sandbox_stall_seconds=1)) as running:
        yield running


def post(gateway: RunningGateway, body: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{gateway.url}/sandboxes", content=body, headers=headers, timeout=20)


def test_a_body_that_is_too_large_is_refused_before_it_is_looked_at(gateway: RunningGateway) -> None:
    body = json.dumps(ASKED | {"mcp": [[]] * BODY_BYTES}).encode()
    reply = post(gateway, body, **{"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error_code"]) == (413, "body_too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None])
def test_only_json_is_taken_since_pages_of_others_can_send_the_rest(gateway: RunningGateway, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    assert post(gateway, json.dumps(ASKED).encode(), **headers).status_code == 415
    assert httpx.get(f"{gateway.url}/sandboxes").json() == []


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_is_known_by_its_name(gateway: RunningGateway, kind: str) -> None:
    assert post(gateway, json.dumps(ASKED).encode(), **{"content-type": kind}).status_code == 201


@pytest.mark.parametrize(
    "path", ["/sandboxes", "/sandboxes/s/timeout", "/sandboxes/s/refreshes", "/sandboxes/s/connect"]
)
def test_a_body_that_trickles_is_cut_off(gateway: RunningGateway, path: str) -> None:
    with socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2])), timeout=20) as trickling:
        head = (
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
        )
        trickling.sendall(head.encode())
        trickling.settimeout(0.05)
        limit, told = time.monotonic() + 20, b""
        while not told:
            assert time.monotonic() < limit
            trickling.sendall(b" ")
            try:
                told = trickling.recv(4096)
            except TimeoutError:
                continue
        assert told.startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "asked",
    [
        {"timeout": 10**400},
        {"metadata": {str(number): 1 for number in range(20_000)}},
        {"mcp": 1, "envVars": {"a": []}},
    ],
)
def test_odd_values_are_the_clients_fault(gateway: RunningGateway, asked: dict[str, Any]) -> None:
    body = json.dumps(ASKED | asked).encode()
    assert post(gateway, body, **{"content-type": "application/json"}).status_code == 400


@pytest.mark.parametrize("query", ["limit=000001" + "0" * 5000, "nextToken=" + "W1tbW1tb" * 4000])
def test_odd_lists_are_the_clients_fault(gateway: RunningGateway, query: str) -> None:
    assert httpx.get(f"{gateway.url}/sandboxes?{query}").status_code == 400
