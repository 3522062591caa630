"""How an engine is called: its command line and its surroundings."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_node.catalogue import Catalogue, parse_catalogue
from models_node.profiles import Profile
from models_node.residency.command import common_environment, engine_arguments, engine_environment, plain_command

HOME = Path("/home/x/var")
PROFILE = Profile(name="p", arguments=("--dtype", "bfloat16"), environment={"SHARED": "profile", "OF_PROFILE": "1"})


@pytest.fixture
def catalogue() -> Catalogue:
    return parse_catalogue(
        """
default = "a"
[limits]
memory_budget = "4 GiB"
[engine]
arguments = ["--dtype", "float32"]
environment = { OMP_NUM_THREADS = "1", SHARED = "all" }
[[models]]
id = "a"
domain = "general"
description = ""
context_length = 1
weights = "w"
memory_estimate = 1
engine_arguments = ["--max-model-len", "64"]
environment = { SHARED = "own" }
[[models]]
id = "far"
domain = "general"
description = ""
context_length = 1
remote_url = "http://far"
remote_key_env = "FAR_KEY"
""",
        "test",
    )


def test_it_serves_the_weights_on_a_unix_socket_under_the_models_id(catalogue: Catalogue) -> None:
    arguments = engine_arguments(catalogue.models[0], catalogue, PROFILE, HOME, Path("/run/1/http"))
    assert arguments[:7] == [
        "--model", "/home/x/var/weights/w", "--served-model-name", "a", "--uds", "/run/1/http",
        "--disable-uvicorn-access-log",
    ]  # fmt: skip
    assert plain_command(arguments)[3:] == arguments


def test_profile_goes_before_catalogue_goes_before_entry_and_priority_scheduling_is_last(catalogue: Catalogue) -> None:
    arguments = engine_arguments(catalogue.models[0], catalogue, PROFILE, HOME, Path("/run/1/http"))
    assert arguments[7:] == [
        "--dtype", "bfloat16", "--dtype", "float32", "--max-model-len", "64", "--scheduling-policy", "priority",
    ]  # fmt: skip
    environment = engine_environment(catalogue.models[0], common_environment(catalogue, PROFILE, HOME), Path("/run/1"))
    assert (environment["OF_PROFILE"], environment["OMP_NUM_THREADS"], environment["SHARED"]) == ("1", "1", "own")


def test_it_is_offline_silent_and_sees_no_secret_of_the_stack(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPIBARA6_SECRET_OPERATOR_KEY", "k3y-of-ours")
    monkeypatch.setenv("CAPIBARA6_DATABASE_URL", "postgres://k3y-of-ours")
    monkeypatch.setenv("FAR_KEY", "k3y-of-ours")
    monkeypatch.setenv("CAPIBARA6_STACK_ID", "abc")
    monkeypatch.setenv("VLLM_USE_SOMETHING", "1")
    environment = engine_environment(catalogue.models[0], common_environment(catalogue, PROFILE, HOME), Path("/run/1"))
    assert not any("k3y-of-ours" in value for value in environment.values())
    assert environment["CAPIBARA6_STACK_ID"] == "abc"
    silent = (environment["HF_HUB_OFFLINE"], environment["VLLM_NO_USAGE_STATS"], environment["DO_NOT_TRACK"])
    assert silent == ("1", "1", "1")
    assert "VLLM_USE_SOMETHING" not in environment
    assert environment["TMPDIR"] == "/run/1"
