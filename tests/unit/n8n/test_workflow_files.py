"""Every file of n8n/workflows: documented in two languages, without an address, secret or id of one installation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from n8n import files
from n8n.bootstrap import WORKFLOWS
from n8n.credentials import wanted
from n8n.placeholders import meanings
from stack.secrets import ensure_secrets
from stack.settings import REPOSITORY, Settings
from stack.topology import load_topology

# Of the run that began the workflow by its webhook, where one did.
PARENT = "={{ $('Webhook').isExecuted && $('Webhook').first().json.headers['x-capibara6-parent-run-id'] || '' }}"
PATHS = sorted(WORKFLOWS.glob("*.json"))


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def kind(node: dict[str, Any]) -> str:
    return str(node["type"]).rsplit(".", 1)[-1]


@pytest.fixture(params=PATHS, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_all_that_were_promised_are_there() -> None:
    assert {path.stem for path in PATHS} >= {
        "chat", "leads", "conversation-logger", "daily-digest", "consensus", "health", "text-to-speech",
        "document-to-audio", "code-job", "agent", "mcp-tools",
    }  # fmt: skip


def test_it_can_be_read_and_uses_credentials_that_bootstrap_makes(path: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    topology = load_topology(settings)
    types = {node["type"]: {node.get("typeVersion", 1)} for node in content(path)["nodes"]}
    workflow = files.read(path, types, meanings(settings, topology))
    made = {one.name: "1" for one in wanted(settings, ensure_secrets(settings), topology)}
    body = workflow.body(made, files.sign_of(made))
    assert "capibara6://" not in json.dumps(body)


def test_a_note_says_in_both_languages_what_it_does_and_what_to_set(path: Path) -> None:
    notes = [node["parameters"]["content"] for node in content(path)["nodes"] if kind(node) == "stickyNote"]
    english, _, spanish = notes[0].partition("**Español**")
    assert "**English**" in english
    assert "To set:" in english
    assert "Ajustes:" in spanish
    assert len(english) > 300
    assert len(spanish) > 300


def test_it_has_no_address_no_secret_and_no_id_of_one_installation(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|127\.0\.0\.1|localhost", text)
    assert not re.search(r"(?i)whsec_|bearer [a-z0-9]|sk-[a-z0-9]|password", text)
    for node in content(path)["nodes"]:
        for credential in (node.get("credentials") or {}).values():
            assert credential["id"] == f"capibara6:{credential['name']}"
    assert "pinData" not in content(path)


def test_its_settings_are_none_that_n8n_drops(path: Path) -> None:
    """n8n removes what is its default when a workflow is changed: it would look like a change of the team's. In another
    order than v1 an agent goes on before its tools have answered."""
    settings = content(path)["settings"]
    assert settings["executionOrder"] == "v1"
    assert settings.get("executionTimeout", 1) > 0
    assert "DEFAULT" not in settings.values()


def test_every_request_has_a_limit_and_carries_its_execution(path: Path) -> None:
    for node in content(path)["nodes"]:
        if kind(node) != "httpRequest":
            continue
        parameters = node["parameters"]
        assert parameters["options"]["timeout"], node["name"]
        if "capibara6://" in parameters["url"] or parameters["url"] == "={{ $json.url }}":
            sent = {one["name"] for one in parameters["headerParameters"]["parameters"]}
            assert {"x-capibara6-n8n-execution", "x-capibara6-n8n-workflow"} <= sent, node["name"]
            if path.stem != "health":  # which begins no run
                given = {one["name"]: one["value"] for one in parameters["headerParameters"]["parameters"]}
                assert given["x-capibara6-parent-run-id"] == PARENT, node["name"]


def test_what_fails_is_answered_and_not_left_to_n8n(path: Path) -> None:
    """A webhook's caller is told by a node of ours, whatever its requests come to."""
    found = content(path)
    if not any(kind(node) == "webhook" for node in found["nodes"]):
        return
    for node in found["nodes"]:
        if kind(node) == "httpRequest" and "capibara6://" in node["parameters"]["url"]:
            assert node["onError"] == "continueRegularOutput", node["name"]
            assert node["parameters"]["options"]["response"]["response"]["neverError"], node["name"]
        if kind(node) == "agent":
            assert node["onError"] == "continueErrorOutput"


def test_its_nodes_are_connected_named_and_apart(path: Path) -> None:
    found = content(path)
    nodes = {node["name"]: node for node in found["nodes"]}
    assert len(nodes) == len(found["nodes"])
    assert len({tuple(node["position"]) for node in found["nodes"]}) == len(nodes)
    joined = set(found["connections"])
    for outputs in found["connections"].values():
        joined |= {end["node"] for output in outputs.values() for ends in output for end in ends}
    assert joined == {name for name, node in nodes.items() if kind(node) != "stickyNote"}


def test_it_is_documented(path: Path) -> None:
    documents = (REPOSITORY / "docs" / "workflows.md").read_text(encoding="utf-8")
    assert f"n8n/workflows/{path.name}" in documents
    for node in content(path)["nodes"]:
        if kind(node) == "webhook":
            assert f"/webhook/{node['parameters']['path']}" in documents, node["name"]
