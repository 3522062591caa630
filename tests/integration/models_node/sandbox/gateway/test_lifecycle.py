"""Warm pool, memory, exits, stops, keys: the gateway over a launcher and a ledger that behave as told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stack.secrets import ensure_secrets
from stack.settings import Settings
from tests.integration.models_node.sandbox.gateway.stand_ins import MIB, RunningGateway

ASKED = {"templateID": "base", "timeout": 60}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with RunningGateway(Settings(home=tmp_path, sandbox_create_wait_seconds=0.5)) as running:
        yield running


def create(gateway: RunningGateway, **more: object) -> httpx.Response:
    return httpx.post(f"{gateway.url}/v2/sandboxes", json=ASKED | more, timeout=30)


def test_the_pool_is_refilled_after_a_claim(gateway: RunningGateway) -> None:
    gateway.warm(2)
    assert create(gateway).status_code == 201
    gateway.warm(2)
    told = gateway.stats()
    assert told["states"] == {"warming": 0, "warm": 2, "running": 1, "dying": 0}
    assert told["creations"]["p50_seconds"] > 0
    assert {each["state"] for each in told["sandboxes"]} == {"warm", "running"}


def test_the_ledger_is_asked_before_and_told_afterwards(gateway: RunningGateway) -> None:
    gateway.warm(2)
    asked = [bytes_ for bytes_, in_use in gateway.ledger.told if not in_use]
    assert asked, "a launch asks first"
    assert gateway.ledger.held >= 2 * 128 * MIB


def test_a_node_without_memory_refuses_creations_in_words(gateway: RunningGateway) -> None:
    gateway.warm(2)
    gateway.ledger.room = 0
    assert [create(gateway).status_code for _ in range(2)] == [201, 201]
    reply = create(gateway)
    assert reply.status_code == 503
    assert "no memory left" in reply.json()["message"]
    assert int(reply.headers["retry-after"]) >= 1
    assert set(reply.json()) >= {"code", "message"}
    gateway.ledger.room = 64 * 1024 * MIB
    gateway.until(lambda: create(gateway).status_code == 201)


def test_without_the_ledger_the_sandboxes_own_limit_holds(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, sandbox_create_wait_seconds=0.3, sandbox_total_memory_bytes=400 * MIB)
    running = RunningGateway(settings)
    running.ledger.room = None
    with running as gateway:
        statuses = [create(gateway).status_code for _ in range(4)]
        assert statuses == [201, 201, 201, 503]
        assert not gateway.stats()["memory"]["ledger_reachable"]
        gateway.ledger.room = 64 * 1024 * MIB
        gateway.until(lambda: gateway.stats()["memory"]["ledger_reachable"])
        assert gateway.ledger.told[0][1], "what is held already is told as being in use"


def test_what_cannot_be_had_says_why_and_what_mends_it(gateway: RunningGateway) -> None:
    assert httpx.get(f"{gateway.url}/health/ready").json()["status"] == "ready"
    gateway.launcher.words = "there are no cgroups (run it on a host with cgroups)"
    reply = httpx.get(f"{gateway.url}/health/ready")
    assert reply.status_code == 503
    assert reply.json() == {
        "status": "unavailable",
        "service": "sandbox-gateway",
        "reason": "there are no cgroups",
        "mend": "run it on a host with cgroups",
    }
    refused = create(gateway)
    assert refused.status_code == 503
    assert "there are no cgroups" in refused.json()["message"]
    assert httpx.get(f"{gateway.url}/health/live").status_code == 200


def test_launches_that_fail_are_told_to_who_waits(gateway: RunningGateway) -> None:
    gateway.warm(2)
    gateway.launcher.failing = "no more users"
    assert [create(gateway).status_code for _ in range(2)] == [201, 201]
    reply = create(gateway)
    assert reply.status_code == 503
    assert "no more users" in reply.json()["message"]
    gateway.launcher.failing = None
    gateway.until(lambda: create(gateway).status_code == 201)


def test_a_sandbox_that_ends_by_itself_is_gone_and_says_why(gateway: RunningGateway) -> None:
    made = create(gateway).json()
    gateway.do(gateway.launcher.die(made["sandboxID"], "out_of_memory"))
    gateway.until(lambda: httpx.get(f"{gateway.url}/sandboxes/{made['sandboxID']}").status_code == 404)
    assert "ran out of memory" in httpx.get(f"{gateway.url}/sandboxes/{made['sandboxID']}").json()["message"]
    headers = {
        "E2b-Sandbox-Id": made["sandboxID"],
        "E2b-Sandbox-Port": "49983",
        "X-Access-Token": made["envdAccessToken"],
    }
    reply = httpx.get(f"{gateway.url}/health", headers=headers)
    assert reply.status_code == 502
    assert "was not found: it ran out of memory" in reply.json()["message"]


def test_an_execution_that_its_sandbox_does_not_survive_is_told_so(gateway: RunningGateway) -> None:
    made = create(gateway).json()
    headers = {
        "E2b-Sandbox-Id": made["sandboxID"],
        "E2b-Sandbox-Port": "49999",
        "X-Access-Token": made["envdAccessToken"],
        "E2B-Traffic-Access-Token": made["trafficAccessToken"],
    }
    agent = gateway.agent(made["sandboxID"])
    content = '{"code": "silent"}'
    with httpx.stream("POST", f"{gateway.url}/execute", headers=headers, content=content, timeout=20) as reply:
        lines = reply.iter_lines()
        next(lines)
        next(lines)
        gateway.until(lambda: agent.streaming == 1)
        gateway.do(gateway.launcher.die(made["sandboxID"], "out_of_memory"))
        rest = list(lines)
    assert "ran out of memory" in rest[0]
    assert "end_of_execution" in rest[1]


def test_a_client_that_leaves_while_it_waits_leaves_no_sandbox(gateway: RunningGateway) -> None:
    gateway.warm(2)
    gateway.launcher.launch_seconds = 0.4
    assert [create(gateway).status_code for _ in range(2)] == [201, 201]
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{gateway.url}/v2/sandboxes", json=ASKED, timeout=0.1)
    gateway.until(lambda: gateway.stats()["creations"]["waiting"] == 0)
    gateway.warm(2)
    assert gateway.stats()["states"]["running"] == 2


def test_sandboxes_belong_to_their_creators_key(tmp_path: Path) -> None:
    topology = tmp_path / "topology.toml"
    topology.write_text(
        "".join(
            f'[nodes.{name}]\naddress = "192.0.2.{number}"\n'
            for number, name in enumerate(("models-europe", "services", "frontend"), 1)
        )
    )
    settings = Settings(home=tmp_path, topology=topology)
    secrets = ensure_secrets(settings)
    services = {"X-API-KEY": secrets.services_key.get_secret_value()}
    operator = {"Authorization": f"Bearer {secrets.operator_key.get_secret_value()}"}
    with RunningGateway(settings, secrets) as gateway:
        refused = httpx.post(f"{gateway.url}/v2/sandboxes", json=ASKED)
        assert (refused.status_code, refused.json()["code"]) == (401, 401)
        assert httpx.get(f"{gateway.url}/v2/sandboxes", headers={"X-API-KEY": "wrong"}).status_code == 401
        theirs = httpx.post(f"{gateway.url}/v2/sandboxes", json=ASKED, headers=services).json()
        ours = httpx.post(f"{gateway.url}/v2/sandboxes", json=ASKED, headers=operator).json()
        url = f"{gateway.url}/sandboxes/{ours['sandboxID']}"
        assert httpx.get(url, headers=services).status_code == 404
        assert httpx.delete(url, headers=services).status_code == 404
        assert httpx.get(f"{gateway.url}/sandboxes/{theirs['sandboxID']}", headers=operator).status_code == 200
        listed = httpx.get(f"{gateway.url}/v2/sandboxes", headers=services).json()
        assert [each["sandboxID"] for each in listed] == [theirs["sandboxID"]]
        assert httpx.get(f"{gateway.url}/stats", headers=services).status_code == 403
        data = {
            "E2b-Sandbox-Id": theirs["sandboxID"],
            "E2b-Sandbox-Port": "49983",
            "X-Access-Token": theirs["envdAccessToken"],
        }
        assert httpx.get(f"{gateway.url}/health", headers=data).status_code == 204, "its token is enough"
        assert "capibara6_sandboxes" in httpx.get(f"{gateway.url}/metrics", headers=operator).text


def test_a_stop_ends_every_sandbox_and_tells_who_waits(tmp_path: Path) -> None:
    with RunningGateway(Settings(home=tmp_path)) as gateway:
        for _ in range(3):
            assert create(gateway).status_code == 201
    assert gateway.launcher.agents == {}
    assert gateway.ledger.held == 0


def test_egress_is_open_only_where_hosts_are_listed_and_wanted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        settings = Settings(home=tmp_path, sandbox_egress=f"127.0.0.1:{port}")
        with RunningGateway(settings) as gateway:
            made = create(gateway, envVars={"MINE": "1"}).json()
            environment = gateway.agent(made["sandboxID"]).environment
            assert environment["HTTPS_PROXY"] == environment["HTTP_PROXY"] == "http://127.0.0.1:3128"
            assert environment["MINE"] == "1"
            closed = create(gateway, allow_internet_access=False).json()
            assert gateway.agent(closed["sandboxID"]).environment == {}
            denied = create(gateway, network={"denyOut": ["0.0.0.0/0"]}).json()
            assert gateway.agent(denied["sandboxID"]).environment == {}
