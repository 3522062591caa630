"""What hostile clients try at the gateway: tokens, paths, slow and swollen uploads, storms."""

from __future__ import annotations

import asyncio
import gzip
import socket

import httpx
import pytest
from e2b import InvalidArgumentException, NotFoundException, SandboxException
from e2b_code_interpreter import Sandbox

from tests.integration.models_node.sandbox.whole.attacks import others_are_served, still_works
from tests.integration.models_node.sandbox.whole.conftest import Node


def test_a_compressed_upload_is_measured_unpacked(node: Node, sandbox: Sandbox) -> None:
    bomb = gzip.compress(b"\0" * (300 << 20), 1)
    assert len(bomb) < 2 << 20
    reply = httpx.post(
        f"{node.url}/files",
        params={"path": "bomb", "username": "user"},
        content=bomb,
        headers={
            "content-type": "application/octet-stream", "content-encoding": "gzip",
            "e2b-sandbox-id": sandbox.sandbox_id, "e2b-sandbox-port": "49983",
            "x-access-token": sandbox._envd_access_token or "",
        },
        trust_env=False, timeout=60,
    )  # fmt: skip
    assert reply.status_code in (413, 507), reply.text
    assert not sandbox.files.exists("bomb")
    still_works(sandbox)


def data_headers(sandbox: Sandbox, port: int, **tokens: str) -> dict[str, str]:
    return {"e2b-sandbox-id": sandbox.sandbox_id, "e2b-sandbox-port": str(port), **tokens}


def test_missing_forged_and_foreign_tokens_open_nothing(node: Node, sandbox: Sandbox) -> None:
    other = node.create(timeout=60)
    foreign = other._envd_access_token or ""
    traffic = other.traffic_access_token or ""
    try:
        for method, path, port in (
            ("GET", "/files?path=/etc/passwd", 49983), ("POST", "/files?path=x", 49983), ("GET", "/envs", 49983),
            ("POST", "/process.Process/List", 49983), ("POST", "/filesystem.Filesystem/ListDir", 49983),
            ("POST", "/execute", 49999), ("GET", "/contexts", 49999), ("POST", "/contexts", 49999),
        ):  # fmt: skip
            for tokens in ({}, {"x-access-token": "x", "e2b-traffic-access-token": "x"},
                           {"x-access-token": foreign, "e2b-traffic-access-token": traffic}):  # fmt: skip
                reply = httpx.request(
                    method, node.url + path, headers=data_headers(sandbox, port, **tokens), json={}, trust_env=False
                )
                assert reply.status_code in (401, 403), (path, tokens, reply.text)
    finally:
        other.kill()


def test_routes_that_are_nobodys_business_are_not_there(node: Node, sandbox: Sandbox) -> None:
    tokens = {
        "x-access-token": sandbox._envd_access_token or "",
        "e2b-traffic-access-token": sandbox.traffic_access_token or "",
    }
    for path, port in (("/init", 49983), ("/ready", 49999), ("/execute", 49983), ("/files", 49999), ("/x", 8080)):
        reply = httpx.post(node.url + path, headers=data_headers(sandbox, port, **tokens), json={}, trust_env=False)
        assert reply.status_code in (400, 404, 502), (path, reply.status_code, reply.text)


def test_a_made_up_sandbox_is_not_found(node: Node) -> None:
    headers = {"e2b-sandbox-id": "nosuchsandbox", "e2b-sandbox-port": "49983", "x-access-token": "x"}
    reply = httpx.get(f"{node.url}/health", headers=headers, trust_env=False)
    assert reply.status_code == 502
    assert reply.json()["message"] == "The sandbox was not found"
    with pytest.raises(NotFoundException):
        Sandbox.connect("nosuchsandbox", **node.options())


def test_uploads_that_trickle_hold_up_nobody(node: Node, sandbox: Sandbox) -> None:
    """Thirty that send one byte and wait: each is cut off in the end, others are served meanwhile."""
    held = []
    head = (
        f"POST /files?path=slow&username=user HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: {sandbox.sandbox_id}\r\n"
        f"E2b-Sandbox-Port: 49983\r\nX-Access-Token: {sandbox._envd_access_token}\r\n"
        "Content-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\nx"
    )
    with others_are_served(node):
        for _ in range(30):
            slow = socket.create_connection(("127.0.0.1", 8086 + node.offset))
            slow.sendall(head.encode())
            held.append(slow)
        still_works(sandbox)
    for slow in held:
        slow.settimeout(60)
        try:
            said = slow.recv(4096)
        except ConnectionResetError:
            said = b""
        assert said == b"" or b" 408 " in said or b" 4" in said[:16], said
        slow.close()
    assert not sandbox.files.exists("slow")


def test_a_storm_of_creations_is_answered_one_by_one(node: Node) -> None:
    """200 at once: so many get one as there may be, the others are told to come again; the node goes on."""

    async def storm() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=node.url, timeout=60, trust_env=False, limits=limits) as client:
            body = {"templateID": "code-interpreter-v1", "timeout": 60}
            asked = [client.post("/v2/sandboxes", json=body, headers={"x-api-key": "k"}) for _ in range(200)]
            return list(await asyncio.gather(*asked))

    with others_are_served(node):
        replies = asyncio.run(storm())
    made = [reply.json()["sandboxID"] for reply in replies if reply.status_code == 201]
    refused = [reply for reply in replies if reply.status_code != 201]
    try:
        assert 1 <= len(set(made)) == len(made) <= 20
        assert {reply.status_code for reply in refused} <= {429, 503}
        assert all(reply.json()["message"] and int(reply.headers["retry-after"]) > 0 for reply in refused)
        first = Sandbox.connect(made[0], **node.options())
        assert first.run_code("1+1").text == "2"
    finally:
        for sandbox_id in made:
            Sandbox.kill(sandbox_id, **node.options())
    again = node.create()
    assert again.run_code("1+1").text == "2"
    again.kill()


def test_bad_values_are_told_not_swallowed(node: Node) -> None:
    wrong: list[dict[str, object]] = [{"timeout": -1}, {"timeout": "x"}, {"metadata": 3}, {"envVars": {"A": 1}}]
    for body in ({}, {"templateID": "nope"}, *({"templateID": "base", **more} for more in wrong)):
        reply = httpx.post(f"{node.url}/v2/sandboxes", json=body, headers={"x-api-key": "k"}, trust_env=False)
        assert 400 <= reply.status_code < 500, (body, reply.text)
        assert reply.json()["message"]
    with pytest.raises((InvalidArgumentException, SandboxException)):
        node.create(template="no-such-template")
