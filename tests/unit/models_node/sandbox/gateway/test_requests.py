"""What a creation may ask for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models_node.sandbox.gateway.requests import (
    ENTRIES,
    NewSandbox,
    Timeout,
    checked_variables,
    claim_of,
    parsed,
    template_of,
)
from stack.settings import Settings
from wire.errors import ApiError, InvalidRequest


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, sandbox_timeout_seconds=300, sandbox_max_timeout_seconds=3600)


def asked(**fields: Any) -> NewSandbox:
    return parsed(NewSandbox, json.dumps({"templateID": "base"} | fields).encode())


def test_a_plain_request_has_the_defaults(settings: Settings) -> None:
    claim = claim_of(asked(), "ana", settings, egress=True)
    assert (claim.owner, claim.template, claim.timeout_seconds, claim.egress) == ("ana", "base", 300, True)
    assert claim.envd_token != claim.traffic_token
    assert len(claim.envd_token) >= 43, "256 bits"
    assert claim.envd_token not in repr(claim)


def test_tokens_are_never_the_same_twice(settings: Settings) -> None:
    tokens = {claim_of(asked(), "ana", settings, egress=False).envd_token for _ in range(100)}
    assert len(tokens) == 100


@pytest.mark.parametrize(("timeout", "lasts"), [(None, 300), (0, 0), (60, 60), (3600, 3600), (10**9, 3600)])
def test_times_are_capped(settings: Settings, timeout: int | None, lasts: float) -> None:
    assert claim_of(asked(timeout=timeout), "ana", settings, egress=False).timeout_seconds == lasts


@pytest.mark.parametrize(
    ("fields", "egress"),
    [
        ({}, True),
        ({"allow_internet_access": True}, True),
        ({"allow_internet_access": False}, False),
        ({"network": {"denyOut": ["0.0.0.0/0"]}}, False),
        ({"network": {"denyOut": []}}, True),
        ({"network": {"allowPublicTraffic": False}}, True),
    ],
)
def test_egress_can_be_refused_by_the_creator_but_not_gained(
    settings: Settings, fields: dict[str, Any], egress: bool
) -> None:
    assert claim_of(asked(**fields), "ana", settings, egress=True).egress is egress
    assert not claim_of(asked(**fields), "ana", settings, egress=False).egress


@pytest.mark.parametrize(
    "fields",
    [
        {"autoPause": True},
        {"autoResume": {"enabled": True}},
        {"mcp": {"browserbase": {}}},
        {"iam": {"tokens": {"a": {}}}},
        {"volumeMounts": [{"name": "v", "path": "/v"}]},
        {"network": {"allowOut": ["1.1.1.1"]}},
        {"network": {"denyOut": ["10.0.0.0/8"]}},
        {"network": {"allowPublicTraffic": True}},
        {"network": {"egressProxy": {"address": "a:1"}}},
        {"network": {"rules": {"example.com": []}}},
    ],
)
def test_what_is_not_offered_is_refused_by_name(settings: Settings, fields: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        claim_of(asked(**fields), "ana", settings, egress=True)
    assert refused.value.status == 501


@pytest.mark.parametrize(
    "fields",
    [
        {"autoPause": False},
        {"autoPauseMemory": True},
        {"autoResume": {"enabled": False}},
        {"mcp": None},
        {"volumeMounts": []},
        {"somethingNew": 1},
    ],
)
def test_what_asks_for_nothing_is_accepted(settings: Settings, fields: dict[str, Any]) -> None:
    claim_of(asked(**fields), "ana", settings, egress=False)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"", "templateID"),
        (b"[]", "body"),
        (b"{", "body"),
        (b'{"templateID": "base", "timeout": -1}', "timeout"),
        (b'{"templateID": "base", "timeout": "soon"}', "timeout"),
        (b'{"templateID": "base", "timeout": ' + b"9" * 400 + b"}", "timeout"),
        (b'{"templateID": "base", "timeout": ' + b"9" * 5000 + b"}", "body"),
        (b'{"templateID": "base", "mcp": ' + b"[" * 5000 + b"}", "body"),
        (b'{"templateID": "base", "metadata": {"' + b"a" * 5000 + b'": 1}}', "metadata." + "a" * 119),
        (b'{"templateID": "base", "metadata": {"a": 1}}', "metadata.a"),
        (b'{"templateID": "base", "envVars": ["A"]}', "envVars"),
    ],
)
def test_a_wrong_body_is_refused_by_the_fields_name(body: bytes, names: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parsed(NewSandbox, body)
    assert refused.value.param == names


def test_a_timeout_needs_its_number() -> None:
    with pytest.raises(InvalidRequest):
        parsed(Timeout, b"{}")


@pytest.mark.parametrize("name", ["base", "BASE", "code-interpreter-v1", "code-interpreter-v1:default", " base:latest"])
def test_templates_go_by_their_names(name: str) -> None:
    assert template_of(name) in ("base", "code-interpreter-v1")


@pytest.mark.parametrize("name", ["", "mine", "base:v2", "../base", "base-2"])
def test_other_templates_were_not_found(name: str) -> None:
    with pytest.raises(ApiError) as refused:
        template_of(name)
    assert refused.value.status == 404


@pytest.mark.parametrize(
    "variables",
    [
        {"": "x"},
        {"A=B": "x"},
        {"1A": "x"},
        {"A B": "x"},
        {"A": "x\0y"},
        {f"V{n}": "" for n in range(ENTRIES + 1)},
        {f"V{n}": "x" * 1000 for n in range(ENTRIES)},
    ],
)
def test_environments_are_checked_and_bounded(variables: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        checked_variables(variables)
