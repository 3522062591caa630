"""By which names a service may be called, and by which pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.errors import ConfigurationError
from stack.settings import Settings
from stack.topology import load_topology
from wire.admission import admission


@pytest.mark.parametrize(
    ("host", "origin", "hosts", "origins"),
    [
        ("127.0.0.1:5003", None, True, True),
        ("LOCALHOST", "http://localhost:8080", True, True),
        ("[::1]:5003", "https://[::1]", True, True),
        ("127.0.0.2:8086", "http://127.0.0.2:1", True, True),
        ("49983-sbx.localhost:8086", "http://n8n.localhost:5678", True, True),
        ("192.0.2.2:5003", "http://192.0.2.3:8080", True, True),
        ("192.0.2.4", "http://192.0.2.4", False, False),
        ("n8n.example.org", "https://n8n.example.org", True, True),
        ("n8n.example.org:1", "http://n8n.example.org", True, False),
        ("any.example.org", "http://any.example.org:99", True, True),
        ("evil.example", "https://evil.example", False, False),
        ("localhost.evil.example", "http://localhost.evil.example", False, False),
        ("127.0.0.1@evil.example", "null", False, False),
        ("", "", False, False),
        ("[evil.example]", "file://localhost", False, False),
        ("localhost.", "http://", False, False),
        ("[::1", "http://[fe80::1]", False, False),
        (None, "chrome-extension://localhost", False, False),
    ],
)
def test_only_known_names_and_origins_are_let_in(
    tmp_path: Path, host: str | None, origin: str | None, hosts: bool, origins: bool
) -> None:
    topology = tmp_path / "topology.toml"
    topology.write_text(
        "\n".join(
            f'[nodes.{node}]\naddress = "192.0.2.{number}"'
            for number, node in enumerate(("models-europe", "services", "frontend"), 1)
        )
    )
    settings = Settings(
        home=tmp_path, topology=topology, allowed_origins="https://n8n.example.org, http://any.example.org:*"
    )
    door = admission(settings, load_topology(settings))
    assert (door.host(host), door.origin(origin)) == (hosts, origins)


def test_an_origin_that_is_none_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, allowed_origins="n8n.example.org")
    with pytest.raises(ConfigurationError, match=r"'n8n\.example\.org' is no origin"):
        admission(settings, load_topology(settings))
