from pathlib import Path

import pytest

from stack.errors import ConfigurationError, PlacementError
from stack.settings import Settings
from stack.topology import SERVICES, is_loopback, load_topology

THREE_MACHINES = """
[nodes.models-europe]
address = "192.0.2.1"
bind = "0.0.0.0"
[nodes.services]
address = "192.0.2.2"
[nodes.frontend]
address = "192.0.2.3"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "topology.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_newcomers_topology_puts_every_role_on_this_machine(tmp_path: Path) -> None:
    topology = load_topology(Settings(home=tmp_path))
    assert {service.name for service in topology.local_services()} == {service.name for service in SERVICES}
    assert topology.url("chat-api") == "http://127.0.0.1:5000"
    assert topology.url("model-server") == "http://127.0.0.1:8082"


def test_a_port_offset_moves_every_port(tmp_path: Path) -> None:
    topology = load_topology(Settings(home=tmp_path, port_offset=700))
    assert [topology.port(service.name) - service.port for service in SERVICES] == [700] * len(SERVICES)


def test_a_node_runs_its_own_services_only(tmp_path: Path) -> None:
    path = write(tmp_path, THREE_MACHINES)
    topology = load_topology(Settings(home=tmp_path, topology=path, node="models-europe"))
    assert [service.name for service in topology.local_services()] == ["model-server", "sandbox-gateway"]
    topology.check_placement("model-server")
    with pytest.raises(PlacementError, match="chat-api belongs to node services, and this machine is models-europe"):
        topology.check_placement("chat-api")


def test_services_listen_on_bind_and_are_called_at_address(tmp_path: Path) -> None:
    path = write(tmp_path, THREE_MACHINES)
    topology = load_topology(Settings(home=tmp_path, topology=path, profile="production"))
    assert topology.bind_host("model-server") == "0.0.0.0"
    assert topology.local_host("model-server") == "127.0.0.1"
    assert topology.url("model-server") == "http://192.0.2.1:8082"
    assert topology.bind_host("postgres") == "127.0.0.1"


def test_an_external_database_leaves_postgres_out(tmp_path: Path) -> None:
    topology = load_topology(Settings(home=tmp_path, database_url="postgresql://u:p@db.example/x"))
    assert "postgres" not in {service.name for service in topology.local_services()}


def test_production_refuses_loopback_between_nodes(tmp_path: Path) -> None:
    with pytest.raises(PlacementError, match="models-europe has a loopback address"):
        load_topology(Settings(home=tmp_path, profile="production"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[nodes.services", "topology .*Expected"),
        ("[nodes.moon]\naddress = '192.0.2.1'", "moon"),
        ("[nodes.services]\naddres = '192.0.2.1'", "nodes.services.addres"),
        (THREE_MACHINES.replace('[nodes.frontend]\naddress = "192.0.2.3"', ""), r"no \[nodes.frontend\]"),
    ],
)
def test_a_wrong_file_names_itself_and_the_field(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_topology(Settings(home=tmp_path, topology=write(tmp_path, text)))


def test_an_unknown_node_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no node is called 'moon'"):
        load_topology(Settings(home=tmp_path, node="moon"))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("db.example", False),
    ],
)
def test_what_counts_as_loopback(address: str, expected: bool) -> None:
    assert is_loopback(address) is expected


def test_the_table_of_services_is_consistent() -> None:
    names = [service.name for service in SERVICES]
    assert len(set(names)) == len(names)
    assert len({service.port for service in SERVICES}) == len(SERVICES)
    for index, service in enumerate(SERVICES):
        assert set(service.after) <= set(names[:index]), (
            "a service comes after those it needs: stopping goes in reverse"
        )
