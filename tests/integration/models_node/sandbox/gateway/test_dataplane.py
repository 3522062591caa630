"""What passes between clients and sandboxes, and what becomes of those who do not play by the rules."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from models_node.sandbox.gateway import passage
from stack.settings import Settings
from tests.integration.models_node.sandbox.gateway.hostile import Answer, RawAgent
from tests.integration.models_node.sandbox.gateway.stand_ins import RunningGateway

MIB = 2**20
OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\n"
ENVD = "49983"
INTERPRETER = "49999"

Start = Callable[..., RunningGateway]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[RunningGateway] = []

    def begin(**settings: Any) -> RunningGateway:
        gateway = RunningGateway(Settings(home=tmp_path, sandbox_pool_size=1, **settings)).__enter__()
        running.append(gateway)
        return gateway

    yield begin
    for gateway in running:
        gateway.__exit__()


@pytest.fixture
def gateway(start: Start) -> RunningGateway:
    return start()


class Made:
    """A sandbox, and requests to it that carry its tokens."""

    def __init__(self, gateway: RunningGateway, **asked: Any) -> None:
        reply = httpx.post(f"{gateway.url}/v2/sandboxes", json={"templateID": "base", "timeout": 60, **asked})
        assert reply.status_code == 201, reply.text
        self.id = reply.json()["sandboxID"]
        self.tokens = {
            "X-Access-Token": reply.json()["envdAccessToken"],
            "E2B-Traffic-Access-Token": reply.json()["trafficAccessToken"],
        }
        self.url = gateway.url
        self.client = httpx.Client(timeout=30)

    def headers(self, port: str = ENVD) -> dict[str, str]:
        return {"E2b-Sandbox-Id": self.id, "E2b-Sandbox-Port": port, **self.tokens}

    def ask(self, method: str, path: str, port: str = ENVD, **more: Any) -> httpx.Response:
        more["headers"] = self.headers(port) | more.get("headers", {})
        return self.client.request(method, self.url + path, **more)

    def execute(self, code: str) -> list[dict[str, Any]]:
        reply = self.ask("POST", "/execute", INTERPRETER, json={"code": code})
        assert reply.status_code == 200, reply.text
        return [json.loads(line) for line in reply.text.splitlines()]


def hostile(gateway: RunningGateway, answer: Answer) -> None:
    """From now on launched sandboxes answer so."""

    async def create(sandbox_id: str, listener: socket.socket, *, egress: bool) -> None:
        gateway.launcher.agents[sandbox_id] = RawAgent(listener.dup(), answer)  # type: ignore[assignment]

    gateway.launcher.create = create  # type: ignore[method-assign, assignment]
    Made(gateway).client.close()  # the warm one, which was made before
    gateway.until(lambda: gateway.stats()["states"]["warm"] == 1)


# who may pass


@pytest.mark.parametrize(
    ("method", "path", "port"),
    [
        ("GET", "/ready", ENVD),
        ("POST", "/init", ENVD),
        ("POST", "/init", INTERPRETER),
        ("GET", "/metrics", ENVD),
        ("POST", "/execute", ENVD),
        ("GET", "/files", INTERPRETER),
        ("DELETE", "/files", ENVD),
        ("POST", "/files/../init", ENVD),
        ("POST", "//init", ENVD),
        ("POST", "/%69nit", ENVD),
        ("POST", "/process.Process/Nothing", ENVD),
        ("GET", "/stats", ENVD),
    ],
)
def test_only_public_routes_are_reached(gateway: RunningGateway, method: str, path: str, port: str) -> None:
    sandbox = Made(gateway)
    request = sandbox.client.build_request(method, gateway.url, headers=sandbox.headers(port))
    request.url = request.url.copy_with(raw_path=path.encode())
    reply = sandbox.client.send(request)
    assert reply.status_code == 404, reply.text
    assert reply.json()["code"] == 404
    assert gateway.agent(sandbox.id).heard == []


@pytest.mark.parametrize(
    ("method", "path", "port", "needed"),
    [
        ("GET", "/health", ENVD, ["X-Access-Token"]),
        ("GET", "/files?path=a", ENVD, ["X-Access-Token"]),
        ("POST", "/process.Process/List", ENVD, ["X-Access-Token"]),
        ("POST", "/filesystem.Filesystem/Stat", ENVD, ["X-Access-Token"]),
        ("POST", "/execute", INTERPRETER, ["X-Access-Token", "E2B-Traffic-Access-Token"]),
        ("GET", "/contexts", INTERPRETER, ["E2B-Traffic-Access-Token"]),
        ("DELETE", "/contexts/abc", INTERPRETER, ["E2B-Traffic-Access-Token"]),
        ("POST", "/contexts/abc/restart", INTERPRETER, ["E2B-Traffic-Access-Token"]),
    ],
)
def test_every_route_asks_for_its_tokens(
    gateway: RunningGateway, method: str, path: str, port: str, needed: list[str]
) -> None:
    sandbox, other = Made(gateway), Made(gateway)
    for name in needed:
        for wrong in (None, "", "forged", other.tokens[name], sandbox.tokens[name] + "x"):
            headers = sandbox.headers(port)
            if wrong is None:
                del headers[name]
            else:
                headers[name] = wrong
            reply = sandbox.client.request(method, gateway.url + path, headers=headers)
            assert reply.status_code == 401, (name, wrong)
            assert name in reply.json()["message"]
    assert gateway.agent(sandbox.id).heard == []


def test_an_unknown_sandbox_was_not_found(gateway: RunningGateway) -> None:
    sandbox = Made(gateway)
    reply = sandbox.ask("GET", "/health", headers={"E2b-Sandbox-Id": "isomeother"})
    assert reply.status_code == 502
    assert reply.json() == {"sandboxId": "isomeother", "message": "The sandbox was not found", "code": 502}


def test_another_port_is_not_open(gateway: RunningGateway) -> None:
    reply = Made(gateway).ask("GET", "/", port="3000")
    assert (reply.status_code, reply.json()["message"]) == (502, "The sandbox is running but port is not open")


def test_signed_urls_are_refused_in_words(gateway: RunningGateway) -> None:
    for reply in (
        httpx.get(f"{gateway.url}/files?path=a&signature=v1_abc"),
        Made(gateway).ask("GET", "/files?path=a&signature=v1_abc"),
    ):
        assert reply.status_code == 501
        assert "Signed URLs" in reply.json()["message"]


def test_no_secret_reaches_the_sandbox(gateway: RunningGateway) -> None:
    sandbox = Made(gateway)
    sent = {
        "X-API-KEY": "key",
        "Cookie": "session=1",
        "Authorization": "Bearer key",
        "X-Metadata-Kind": "csv",
        "X-Anything": "else",
        "Connect-Timeout-Ms": "1000",
    }
    sandbox.ask("GET", "/health", headers=sent)
    sandbox.ask("GET", "/health", headers={"Authorization": "Basic dXNlcjo="})  # user:
    sandbox.ask("GET", "/health", headers={"Authorization": "Basic dXNlcjpwYXNz"})  # user:pass
    heard = [headers for _, _, headers in gateway.agent(sandbox.id).heard]
    told = json.dumps(heard).lower()
    for secret in (*sandbox.tokens.values(), "x-api-key", "cookie", "bearer", "dxnlcjpwyxnz", "x-anything", sandbox.id):
        assert secret.lower() not in told
    assert heard[0]["x-metadata-kind"] == "csv"
    assert heard[0]["connect-timeout-ms"] == "1000"
    assert heard[1]["authorization"] == "Basic dXNlcjo="


def test_what_a_sandbox_answers_is_data(gateway: RunningGateway) -> None:
    reply = Made(gateway).ask("GET", "/files?path=cookies")
    assert "set-cookie" not in reply.headers
    assert "location" not in reply.headers
    assert reply.headers["x-metadata-a"] == "1"
    assert reply.headers["x-content-type-options"] == "nosniff"


# streams


async def test_both_directions_flow_at_once(gateway: RunningGateway) -> None:
    sandbox = await asyncio.to_thread(Made, gateway)
    url = httpx.URL(gateway.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in sandbox.headers().items())
    start = f"POST /process.Process/StreamInput HTTP/1.1\r\nhost: localhost\r\n{head}transfer-encoding: chunked\r\n\r\n"
    writer.write(start.encode())
    async with asyncio.timeout(20):
        for number in range(5):
            piece = b"piece %d" % number
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await reader.readuntil(piece)
        writer.write(b"0\r\n\r\n")
        await reader.readuntil(b"0\r\n\r\n")
    writer.close()


def test_a_client_that_leaves_ends_what_it_asked_for(gateway: RunningGateway) -> None:
    sandbox = Made(gateway)
    agent = gateway.agent(sandbox.id)
    content = json.dumps({"code": "silent"})
    with httpx.stream("POST", f"{gateway.url}/execute", headers=sandbox.headers(INTERPRETER), content=content) as reply:
        next(reply.iter_lines())
        gateway.until(lambda: agent.streaming == 1)
    gateway.until(lambda: agent.left == 1)


# bounds


def test_an_endless_answer_is_cut_and_said_to_be(start: Start) -> None:
    gateway = start(sandbox_output_bytes=MIB)
    sandbox = Made(gateway)
    reply = sandbox.ask("POST", "/execute", INTERPRETER, json={"code": "endless"})
    lines = reply.text.splitlines()
    assert len(reply.content) < 5 * MIB
    assert json.loads(lines[-1])["type"] == "end_of_execution"
    assert "larger than it may be" in json.loads(lines[-2])["value"]
    gateway.until(lambda: gateway.agent(sandbox.id).left == 1)


def test_an_execution_has_a_deadline_whatever_the_agent_does(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passage, "EXECUTION_GRACE_SECONDS", 0.3)
    gateway = start(sandbox_execution_seconds=0.7)
    sandbox = Made(gateway)
    lines = sandbox.execute("silent")
    assert lines[-1] == {"type": "end_of_execution"}
    assert "did not end its answer" in lines[-2]["value"]
    reply = sandbox.ask("POST", "/execute", INTERPRETER, json={"code": "hang"})
    assert reply.status_code == 504
    assert "no answer" in reply.json()["message"]


def test_uploads_are_bounded(start: Start) -> None:
    gateway = start(sandbox_upload_bytes=MIB, max_body_bytes=10_000)
    sandbox = Made(gateway)

    def pieces() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 65536

    for content in (b"x" * 2 * MIB, pieces()):
        reply = sandbox.ask("POST", "/files?path=big", content=content)
        assert reply.status_code == 413, reply.text
        assert reply.headers["connection"] == "close"
        assert "CAPIBARA6_SANDBOX_UPLOAD_BYTES" in reply.json()["message"]
    assert sandbox.ask("POST", "/files?path=fits", content=b"x" * MIB).status_code == 200
    reply = sandbox.ask("POST", "/execute", INTERPRETER, content=b"x" * 20_000)
    assert (reply.status_code, "CAPIBARA6_MAX_BODY_BYTES" in reply.text) == (413, True)
    reply = httpx.post(f"{gateway.url}/v2/sandboxes", content=b"x" * 20_000)
    assert (reply.status_code, reply.json()["code"]) == (413, 413)


def test_a_body_that_stalls_or_trickles_is_cut_off(start: Start) -> None:
    gateway = start(sandbox_stall_seconds=0.5)
    sandbox = Made(gateway)

    def stalls() -> Iterator[bytes]:
        yield b"x" * 100
        gateway.until(lambda: gateway.stats()["refusals"].get("upload_stalled", 0) > seen)
        yield b"y"

    def trickles() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x"
            time.sleep(0.02)

    for content in (stalls, trickles):
        seen = gateway.stats()["refusals"].get("upload_stalled", 0)
        with contextlib.suppress(httpx.TransportError):  # cut while it was writing
            assert sandbox.ask("POST", "/files?path=slow", content=content()).status_code == 408
        assert gateway.stats()["refusals"]["upload_stalled"] == seen + 1


def test_a_sandbox_has_so_many_connections_and_others_do_not_feel_it(gateway: RunningGateway) -> None:
    busy, other = Made(gateway), Made(gateway)
    host = httpx.URL(gateway.url)
    body = b'{"code": "hang"}'
    head = "".join(f"{name}: {value}\r\n" for name, value in busy.headers(INTERPRETER).items())
    request = f"POST /execute HTTP/1.1\r\nhost: localhost\r\n{head}content-length: {len(body)}\r\n\r\n".encode() + body
    held = [socket.create_connection((host.host, host.port or 80)) for _ in range(64)]
    try:
        for connection in held:
            connection.sendall(request)
        gateway.until(lambda: len(gateway.agent(busy.id).heard) == 64)
        reply = busy.ask("GET", "/health")
        assert reply.status_code == 429
        assert reply.headers["retry-after"] == "1"
        assert other.ask("GET", "/health").status_code == 204
    finally:
        for connection in held:
            connection.close()
    gateway.until(lambda: busy.ask("GET", "/health").status_code == 204)


# agents that cannot be trusted


async def _dies_mid_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b'transfer-encoding: chunked\r\n\r\n5\r\n{"ty\r\n')
    await writer.drain()
    writer.transport.abort()


async def _lies_about_its_length(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK + b"content-length: 100\r\n\r\nshort")
    await writer.drain()


@pytest.mark.parametrize("answer", [_dies_mid_line, _lies_about_its_length])
def test_a_broken_answer_is_not_taken_for_a_whole_one(gateway: RunningGateway, answer: Answer) -> None:
    hostile(gateway, answer)
    sandbox = Made(gateway)
    with pytest.raises(httpx.RemoteProtocolError):
        sandbox.ask("POST", "/execute", INTERPRETER, json={"code": ""})


async def _no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello, gateway\r\n\r\n")
    await writer.drain()


async def _endless_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-filler: " + b"x" * 1000 + b"\r\n")
        await writer.drain()


async def _switches(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\nconnection: upgrade\r\n\r\nother words")
    await writer.drain()


async def _says_nothing_and_leaves(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@pytest.mark.parametrize("answer", [_no_http, _endless_head, _switches, _says_nothing_and_leaves])
def test_what_is_no_answer_is_told_as_unreachable(gateway: RunningGateway, answer: Answer) -> None:
    hostile(gateway, answer)
    reply = Made(gateway).ask("GET", "/health")
    assert reply.status_code == 502
    assert "port is not open" in reply.json()["message"]


async def _answers_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyesHTTP/1.1 200 OK\r\nset-cookie: a=b\r\n\r\n")
    await writer.drain()
    await reader.read()


def test_a_second_answer_is_nobodys(gateway: RunningGateway) -> None:
    hostile(gateway, _answers_twice)
    sandbox = Made(gateway)
    for _ in range(3):
        reply = sandbox.ask("GET", "/health")
        assert (reply.status_code, reply.text) == (200, "yes")


async def _does_not_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(3600)


def test_an_agent_that_reads_no_upload_does_not_hold_it_for_ever(start: Start) -> None:
    gateway = start(sandbox_stall_seconds=0.5)
    hostile(gateway, _does_not_read)
    reply = Made(gateway).ask("POST", "/files?path=a", content=iter([b"x" * MIB] * 8))
    assert reply.status_code == 504


async def _is_full(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(1000)
    writer.write(b"HTTP/1.1 507 Insufficient Storage\r\nconnection: close\r\ncontent-length: 4\r\n\r\nfull")
    await writer.drain()


@pytest.mark.parametrize("size", [4000, 8 * MIB])
def test_an_answer_that_comes_before_the_upload_was_read_is_heard(gateway: RunningGateway, size: int) -> None:
    hostile(gateway, _is_full)
    sandbox = Made(gateway)
    for _ in range(5):
        reply = sandbox.ask("POST", "/files?path=a", content=b"x" * size)
        assert (reply.status_code, reply.text) == (507, "full")
