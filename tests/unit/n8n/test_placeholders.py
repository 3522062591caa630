"""What workflow files say by name, and what is written in its place on one laptop and on three machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from n8n import files
from n8n.errors import WrongWorkflow
from n8n.placeholders import filled, meanings, watched
from stack.settings import Settings
from stack.topology import load_topology

PRODUCTION = """
[nodes.models-europe]
address = "10.0.0.1"
[nodes.services]
address = "10.0.0.2"
[nodes.frontend]
address = "web.example.org"
"""


def local(tmp_path: Path, without: str = "") -> dict[str, str]:
    settings = Settings(home=tmp_path, port_offset=100, without=without)
    return meanings(settings, load_topology(settings))


def production(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "topology.toml").write_text(PRODUCTION, encoding="utf-8")
    settings = Settings(
        home=tmp_path, profile="production", node="services", topology=tmp_path / "topology.toml",
        database_url="postgresql://a:b@db.example.org/c",
    )  # fmt: skip
    return meanings(settings, load_topology(settings))


def test_a_services_name_is_its_address_wherever_it_stands(tmp_path: Path) -> None:
    given = {"url": "capibara6://chat-api/api/chat", "deep": [{"note": "curl capibara6://n8n/webhook/x, and so on"}, 5]}
    assert filled(given, local(tmp_path)) == {
        "url": "http://127.0.0.1:5100/api/chat",
        "deep": [{"note": "curl http://127.0.0.1:5778/webhook/x, and so on"}, 5],
    }
    assert filled("capibara6://model-server/v1", production(tmp_path)) == "http://10.0.0.1:8082/v1"


def test_doors_of_workflows_ask_for_a_key_where_the_services_do(tmp_path: Path) -> None:
    here, there = local(tmp_path), production(tmp_path)
    assert (here["webhook-authentication"], here["mcp-authentication"]) == ("none", "none")
    assert (there["webhook-authentication"], there["mcp-authentication"]) == ("headerAuth", "bearerAuth")


def test_the_services_that_are_watched_are_those_that_others_can_ask(tmp_path: Path) -> None:
    told = json.loads(local(tmp_path)["services"])
    names = [one["name"] for one in told]
    assert {"chat-api", "model-server", "mcp-server", "prefect-server", "n8n"} <= set(names)
    assert not {"postgres", "flow-worker", "n8n-runner"} & set(names), "they listen on loopback, or speak no HTTP"
    chat = next(one for one in told if one["name"] == "chat-api")
    assert chat == {"name": "chat-api", "node": "services", "url": "http://127.0.0.1:5100/health/ready"}


def test_what_an_installation_leaves_out_is_not_watched_nor_what_waits_for_it(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, without="sandbox-gateway,mcp-server")
    names = {one["name"] for one in watched(load_topology(settings))}
    assert not {"sandbox-gateway", "mcp-server", "smart-mcp"} & names
    assert "chat-api" in names


def test_a_name_that_means_nothing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "lost.json"
    node = {"name": "A", "type": "t", "parameters": {"url": "capibara6://chat-apy/api"}}
    path.write_text(json.dumps({"nodes": [node], "connections": {}}), encoding="utf-8")
    with pytest.raises(WrongWorkflow, match=r"lost\.json is left out: nothing here is called capibara6://chat-apy"):
        files.read(path, {"t": {1}}, local(tmp_path))


def test_another_address_changes_the_workflow_and_the_same_one_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "chat.json"
    node = {"name": "A", "type": "t", "parameters": {"url": "capibara6://chat-api/api"}}
    path.write_text(json.dumps({"nodes": [node], "connections": {}}), encoding="utf-8")
    sign = files.sign_of({})
    held = files.read(path, {"t": {1}}, local(tmp_path)).body({}, sign)
    assert files.decide(files.read(path, {"t": {1}}, local(tmp_path)), held, sign) == "keep"
    assert files.decide(files.read(path, {"t": {1}}, production(tmp_path)), held, sign) == "change"
