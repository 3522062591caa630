"""What n8n is told, and what it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from n8n.credentials import NO_KEY, wanted
from n8n.environment import (
    database_variables,
    kept,
    owner_salt,
    reachable,
    runner_variables,
    server_variables,
)
from stack.errors import ConfigurationError
from stack.secrets import Secrets, ensure_secrets
from stack.settings import Settings
from stack.topology import Topology, load_topology
from wire.webhooks import owner_secret

PRODUCTION = """
[nodes.models-europe]
address = "10.0.0.1"
[nodes.services]
address = "10.0.0.2"
bind = "0.0.0.0"
[nodes.frontend]
address = "web.example.org"
"""


@pytest.fixture
def local(tmp_path: Path) -> tuple[Settings, Secrets, Topology]:
    settings = Settings(home=tmp_path, port_offset=100)
    return settings, ensure_secrets(settings), load_topology(settings)


@pytest.fixture
def production(tmp_path: Path) -> tuple[Settings, Secrets, Topology]:
    (tmp_path / "topology.toml").write_text(PRODUCTION, encoding="utf-8")
    settings = Settings(
        home=tmp_path,
        profile="production",
        node="services",
        topology=tmp_path / "topology.toml",
        database_url="postgresql://n%40me:p%3Aw@db.example.org:6432/capibara6?sslmode=verify-full",
    )
    return settings, ensure_secrets(settings), load_topology(settings)


def test_workflows_reach_the_nodes_and_no_other_private_address(
    local: tuple[Settings, Secrets, Topology], production: tuple[Settings, Secrets, Topology]
) -> None:
    assert reachable(local[2]) == (["127.0.0.1/32"], [])
    assert reachable(production[2]) == (["10.0.0.1/32", "10.0.0.2/32"], ["web.example.org"])
    told = server_variables(*production, "hash")
    assert told["N8N_SSRF_PROTECTION_ENABLED"] == "true"
    assert told["N8N_SSRF_ALLOWED_IP_RANGES"] == "10.0.0.1/32,10.0.0.2/32"


def test_executions_are_forgotten_as_the_settings_say(local: tuple[Settings, Secrets, Topology]) -> None:
    settings, secrets, topology = local
    settings = settings.model_copy(update={"n8n_executions_kept_hours": 5, "n8n_executions_kept": 70})
    told = server_variables(settings, secrets, topology, "hash")
    assert (told["EXECUTIONS_DATA_PRUNE"], told["EXECUTIONS_DATA_MAX_AGE"]) == ("true", "5")
    assert told["EXECUTIONS_DATA_PRUNE_MAX_COUNT"] == "70"


def test_ports_follow_the_offset(local: tuple[Settings, Secrets, Topology]) -> None:
    settings, _, topology = local
    told = server_variables(*local, "hash")
    assert (told["N8N_PORT"], told["N8N_RUNNERS_BROKER_PORT"]) == ("5778", "5779")
    runner = runner_variables(settings, topology, "grant")
    assert runner["N8N_RUNNERS_TASK_BROKER_URI"] == "http://127.0.0.1:5779"
    assert runner["N8N_RUNNERS_HEALTH_CHECK_SERVER_PORT"] == "5781"


def test_what_runs_code_is_given_no_secret(local: tuple[Settings, Secrets, Topology]) -> None:
    settings, secrets, topology = local
    told = " ".join(runner_variables(settings, topology, "grant").values())
    for name in Secrets.model_fields:
        assert getattr(secrets, name).get_secret_value() not in told


def test_metrics_that_ask_for_no_key_are_for_this_machine_alone(
    local: tuple[Settings, Secrets, Topology], production: tuple[Settings, Secrets, Topology]
) -> None:
    assert server_variables(*local, "hash")["N8N_METRICS"] == "true"
    assert server_variables(*production, "hash")["N8N_METRICS"] == "false"


def test_variables_of_ours_are_not_handed_on() -> None:
    given = {"PATH": "/bin", "CAPIBARA6_DATABASE_URL": "postgresql://x", "E2B_API_KEY": "k", "CAPIBARA6_STACK_ID": "s"}
    assert kept(given) == {"PATH": "/bin", "CAPIBARA6_STACK_ID": "s"}


def test_a_database_of_ones_own_is_read_from_its_url(production: tuple[Settings, Secrets, Topology]) -> None:
    told = database_variables(*production)
    assert told["DB_POSTGRESDB_HOST"] == "db.example.org"
    assert told["DB_POSTGRESDB_PORT"] == "6432"
    assert told["DB_POSTGRESDB_USER"] == "n@me"
    assert told["DB_POSTGRESDB_PASSWORD"] == "p:w"
    assert told["DB_POSTGRESDB_DATABASE"] == "n8n"
    assert (told["DB_POSTGRESDB_SSL_ENABLED"], told["DB_POSTGRESDB_SSL_REJECT_UNAUTHORIZED"]) == ("true", "true")


@pytest.mark.parametrize("url", ["postgresql:///capibara6", "postgresql://host:none/x"])
def test_a_url_without_a_server_says_how_to_write_it(tmp_path: Path, url: str) -> None:
    settings = Settings(home=tmp_path, database_url=url)
    with pytest.raises(ConfigurationError, match="names no server"):
        database_variables(settings, ensure_secrets(settings), load_topology(settings))


def test_the_owners_salt_is_the_same_at_every_start_and_another_elsewhere(
    local: tuple[Settings, Secrets, Topology], tmp_path: Path
) -> None:
    other = ensure_secrets(Settings(home=tmp_path / "other"))
    assert owner_salt(local[1]) == owner_salt(local[1]) != owner_salt(other)
    assert len(owner_salt(other)) == 16


def test_credentials_carry_a_key_only_where_one_is_asked_for(
    local: tuple[Settings, Secrets, Topology], production: tuple[Settings, Secrets, Topology]
) -> None:
    by_name = {one.name: one.data for one in wanted(*local)}
    assert by_name["Capibara6 API"] == {
        "baseUrl": "http://127.0.0.1:5100",
        "apiKey": "",
        "signingSecret": owner_secret(local[1].hooks_key.get_secret_value(), "local"),
        "modelServerUrl": "http://127.0.0.1:8182",
    }
    assert by_name["Capibara6 models"] == {"apiKey": NO_KEY, "url": "http://127.0.0.1:8182/v1"}
    key = production[1].n8n_key.get_secret_value()
    asked = {one.name: one.data for one in wanted(*production)}
    assert asked["Capibara6 API"]["apiKey"] == asked["Capibara6 MCP"]["token"] == key
    signs = owner_secret(production[1].hooks_key.get_secret_value(), "n8n")
    assert asked["Capibara6 API"]["signingSecret"] == signs
    assert asked["Capibara6 header"]["value"] == f"Bearer {key}"
