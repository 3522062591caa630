"""Which workflow file is made, changed, kept, or left to the team; and what a wrong one is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from n8n import files
from n8n.errors import WrongWorkflow

KNOWN = {"n8n-nodes-base.webhook": {1, 2, 2.1}, "n8n-nodes-base.httpRequest": {4, 4.2}}
IDS = {"Capibara6 API": "c1"}
SIGN = files.sign_of(IDS)


def content(**changes: Any) -> dict[str, Any]:
    return {
        "name": "Echo",
        "nodes": [
            {
                "id": "a", "name": "Hook", "type": "n8n-nodes-base.webhook", "typeVersion": 2,
                "parameters": {"path": "x"},
            },
            {
                "id": "b", "name": "Ask", "type": "n8n-nodes-base.httpRequest", "typeVersion": 4, "parameters": {},
                "credentials": {"capibara6Api": {"id": "?", "name": "Capibara6 API"}},
            },
        ],
        "connections": {"Hook": {"main": [[{"node": "Ask", "type": "main", "index": 0}]]}},
        "settings": {"executionOrder": "v1"},
        **changes,
    }  # fmt: skip


def written(folder: Path, name: str = "echo", **changes: Any) -> files.WorkflowFile:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content(**changes)), encoding="utf-8")
    return files.read(path, KNOWN, {})


def as_held(workflow: files.WorkflowFile, **changes: Any) -> dict[str, Any]:
    """What n8n gives back of it: defaults of its own put beside our settings."""
    body = workflow.body(IDS, SIGN)
    return {**body, "settings": {"callerPolicy": "x", **body["settings"]}, "active": True, **changes}


def test_a_file_that_n8n_has_not_is_made_with_the_credentials_that_are_there(tmp_path: Path) -> None:
    workflow = written(tmp_path)
    assert workflow.id == "capibara6-echo"
    assert files.decide(workflow, None, SIGN) == "make"
    assert workflow.body(IDS, SIGN)["nodes"][1]["credentials"] == {
        "capibara6Api": {"id": "c1", "name": "Capibara6 API"}
    }


def test_what_is_there_already_is_kept(tmp_path: Path) -> None:
    workflow = written(tmp_path)
    assert files.decide(workflow, as_held(workflow), SIGN) == "keep"


@pytest.mark.parametrize(
    "changes",
    [{"name": "Echo", "connections": {}}, {"settings": {"executionOrder": "v1", "timezone": "Europe/Madrid"}}],
)
def test_a_changed_file_changes_the_workflow(tmp_path: Path, changes: dict[str, Any]) -> None:
    before = as_held(written(tmp_path))
    assert files.decide(written(tmp_path, **changes), before, SIGN) == "change"


def test_other_credentials_change_the_workflow(tmp_path: Path) -> None:
    workflow = written(tmp_path)
    assert files.decide(workflow, as_held(workflow), files.sign_of({"Capibara6 API": "c2"})) == "change"


def test_a_version_that_could_not_be_published_is_published_the_next_time(tmp_path: Path) -> None:
    workflow = written(tmp_path)
    stale = as_held(workflow, versionId="2", activeVersionId="1")
    assert files.decide(workflow, stale, SIGN) == "publish"
    assert files.decide(workflow, {**stale, "active": False}, SIGN) == "keep"


def test_what_the_team_changed_is_theirs_whatever_the_file_says(tmp_path: Path) -> None:
    before = as_held(written(tmp_path))
    before["nodes"] = [{**before["nodes"][0], "parameters": {"path": "ours"}}, before["nodes"][1]]
    assert files.decide(written(tmp_path), before, SIGN) == "theirs"
    assert files.decide(written(tmp_path, connections={}), before, SIGN) == "theirs"


def test_a_workflow_of_our_id_without_our_mark_is_theirs(tmp_path: Path) -> None:
    workflow = written(tmp_path)
    assert files.decide(workflow, as_held(workflow, meta=None), SIGN) == "theirs"


def test_one_that_was_put_away_stays_there(tmp_path: Path) -> None:
    workflow = written(tmp_path)
    assert files.decide(workflow, as_held(workflow, isArchived=True), SIGN) == "put away"


def test_a_moved_node_is_a_change_of_the_teams(tmp_path: Path) -> None:
    workflow = written(tmp_path)
    before = as_held(workflow)
    before["nodes"] = [{**before["nodes"][0], "position": [400, 0]}, before["nodes"][1]]
    assert files.decide(workflow, before, SIGN) == "theirs"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "no JSON"),
        ("[]", "no workflow"),
        ('{"nodes": [], "connections": {}}', "no workflow"),
        ('{"nodes": [{"name": "a"}], "connections": {}}', "no name or no type"),
        ('{"nodes": [{"name": "a", "type": "n8n-nodes-base.new"}], "connections": {}}', "this version of n8n has not"),
        (
            '{"nodes": [{"name": "a", "type": "n8n-nodes-base.webhook", "typeVersion": 99}], "connections": {}}',
            "version 99 of 'n8n-nodes-base.webhook'",
        ),
        (
            '{"nodes": [{"name": "a", "type": "n8n-nodes-base.webhook", "credentials": ["x"]}], "connections": {}}',
            "the credentials of node 'a'",
        ),
        (
            '{"nodes": [{"name": "a", "type": "n8n-nodes-base.webhook"}], "connections": {}, "settings": 1}',
            "settings are no object",
        ),
    ],
)
def test_a_wrong_file_is_named_with_what_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(WrongWorkflow, match=told) as error:
        files.read(path, KNOWN, {})
    assert "broken.json" in str(error.value)


def test_a_name_that_n8n_has_no_room_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongWorkflow, match="longer than 26 characters"):
        written(tmp_path, name="a" * 27)


def test_a_credential_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WrongWorkflow, match="'Capibara6 API', not here"):
        written(tmp_path).body({}, SIGN)
