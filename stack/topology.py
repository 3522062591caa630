"""Placement: which service belongs to which node, on which port, and where each node is.

`SERVICES` is the one table that supervision, `doctor`, `env`, readiness and (later) systemd units are made from.
"""

from __future__ import annotations

import ipaddress
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stack.errors import ConfigurationError, PlacementError
from stack.settings import REPOSITORY, Settings

NodeName = Literal["models-europe", "services", "frontend"]
NODES: tuple[NodeName, ...] = ("models-europe", "services", "frontend")


@dataclass(frozen=True, slots=True)
class Service:
    """One row of the table.

    command: arguments after the environment's python. ready_path: HTTP path that answers 200 when the service can do
    its work; None: its port accepting connections is enough. prepare: run to its end before the service starts (the
    same command is run once for all who name it). prepare_in: its environment, where that is another. settle: run to
    its end once the service answers. stop_signal: what makes it stop cleanly.
    """

    name: str
    node: NodeName
    port: int
    environment: Literal["stack", "models", "sandbox", "services", "n8n"]
    command: tuple[str, ...]
    ready_path: str | None
    after: tuple[str, ...] = ()
    prepare: tuple[str, ...] | None = None
    prepare_in: Literal["services"] | None = None
    settle: tuple[str, ...] | None = None
    stop_signal: Literal["TERM", "INT"] = "TERM"
    stop_seconds: float = 15
    url_name: str | None = None  # CAPIBARA6_<url_name>_URL in `./capibara6 env`
    only_loopback: bool = False  # never listens beyond this machine, whatever the node's bind


SERVICES: tuple[Service, ...] = (
    Service(
        "postgres", "services", 5433, "services", ("-m", "db.embedded"), None,
        stop_signal="INT", only_loopback=True,  # INT is Postgres's fast shutdown: sessions end, nothing is lost
    ),
    Service(
        "prefect-server", "services", 4200, "services", ("-m", "flows.prefect_server"), "/api/health",
        after=("postgres",), prepare=("-m", "db", "prepare"), url_name="PREFECT",
    ),
    Service(
        "model-server", "models-europe", 8082, "models", ("-m", "models_node"), "/health/ready",
        stop_seconds=30, url_name="MODELS",
    ),
    Service(
        "sandbox-gateway", "models-europe", 8086, "sandbox", ("-m", "models_node.sandbox"), "/health/ready",
        stop_seconds=20, url_name="SANDBOX",
    ),
    Service(
        "chat-api", "services", 5000, "services", ("-m", "services_node.chat_api"), "/health/ready",
        after=("postgres",), prepare=("-m", "db", "prepare"), stop_seconds=20, url_name="CHAT",
    ),
    Service(
        "flow-worker", "services", 4201, "services", ("-m", "flows.worker"), None,
        after=("prefect-server",), stop_seconds=20, only_loopback=True,
    ),
    Service(
        "mcp-server", "services", 5003, "services", ("-m", "services_node.mcp_server"), "/health/ready",
        url_name="MCP",
    ),
    Service(
        "smart-mcp", "services", 5010, "services", ("-m", "services_node.smart_mcp"), "/health/ready",
        after=("mcp-server",), url_name="SMART_MCP",
    ),
    Service(
        "tts-server", "services", 5002, "services", ("-m", "services_node.tts_server"), "/health/ready",
        stop_seconds=20, url_name="TTS",
    ),
    Service(
        "n8n", "services", 5678, "n8n", ("-m", "n8n.server"), "/healthz/readiness",
        after=("postgres",), prepare=("-m", "db", "prepare", "n8n"), prepare_in="services",
        settle=("-m", "n8n.bootstrap"), stop_seconds=30, url_name="N8N",
    ),
    Service(
        "n8n-runner", "services", 5681, "n8n", ("-m", "n8n.runner"), None,
        after=("n8n",), only_loopback=True,
    ),
)  # fmt: skip

# Ports that design.md §1 fixes for services that are not built yet: `env` prints their addresses already.
PLANNED_URLS: dict[str, tuple[NodeName, int]] = {
    "FRONTEND": ("frontend", 8080),
}


class NodeEntry(BaseModel):
    """One `[nodes.NAME]` table of a topology file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = Field(min_length=1)
    bind: str | None = None
    allowed_destinations: tuple[str, ...] = ()


class TopologyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    nodes: dict[NodeName, NodeEntry]


def is_loopback(address: str) -> bool:
    """Whether an address or name means this machine only."""
    if address == "localhost" or address.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class Topology:
    """The nodes of one installation, and this process's view of them."""

    source: Path
    nodes: dict[NodeName, NodeEntry]
    port_offset: int
    node: NodeName | None  # the node this machine is; None: all of them
    external_database: bool
    without: frozenset[str] = frozenset()

    def services(self) -> tuple[Service, ...]:
        """What runs in this installation, on any node, in the table's order."""
        return tuple(s for s in SERVICES if not (s.name == "postgres" and self.external_database))

    def kept_services(self) -> tuple[Service, ...]:
        """Of these, neither what this machine leaves out, nor what would wait for that in vain."""
        services = self.services()
        gone, kept = {service.name for service in services} & self.without, []
        for service in services:  # the table names what others wait for before them
            if service.name in gone or gone.intersection(service.after):
                gone.add(service.name)
            else:
                kept.append(service)
        return tuple(kept)

    def local_services(self) -> tuple[Service, ...]:
        """What runs on this machine."""
        return tuple(s for s in self.kept_services() if self.node is None or s.node == self.node)

    def service(self, name: str) -> Service:
        for service in SERVICES:
            if service.name == name:
                return service
        known = ", ".join(s.name for s in SERVICES)
        raise ConfigurationError(f"no service is called {name!r}", f"one of: {known}")

    def port(self, name: str) -> int:
        return self.service(name).port + self.port_offset

    def address(self, node: NodeName) -> str:
        return self.nodes[node].address

    def bind_host(self, name: str) -> str:
        """The address a service listens on."""
        service = self.service(name)
        entry = self.nodes[service.node]
        return "127.0.0.1" if service.only_loopback else entry.bind or entry.address

    def local_host(self, name: str) -> str:
        """The address under which a service of this machine is reached from this machine."""
        bind = self.bind_host(name)
        return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(bind, bind)  # noqa: S104

    def url(self, name: str) -> str:
        """Base URL of a service, without a path, as other nodes call it."""
        return f"http://{self.address(self.service(name).node)}:{self.port(name)}"

    def asks_for_keys(self, profile: str, name: str) -> bool:
        """Whether a service does: all do, but on a loopback address in profile `local`."""
        return profile != "local" or not is_loopback(self.bind_host(name))

    def check_placement(self, name: str) -> None:
        """Placement is law: raises PlacementError when this machine is not the service's node."""
        service = self.service(name)
        if self.node is not None and service.node != self.node:
            raise PlacementError(
                f"{name} belongs to node {service.node}, and this machine is {self.node}: it does not start here",
                f"start it on {service.node}, or correct CAPIBARA6_NODE",
            )


def services_named(names: str) -> frozenset[str]:
    """The services of a comma-separated list. Raises ConfigurationError for one that nobody knows."""
    found = frozenset(name.strip() for name in names.split(",") if name.strip())
    for name in sorted(found - {service.name for service in SERVICES}):
        known = ", ".join(service.name for service in SERVICES)
        raise ConfigurationError(f"no service is called {name!r}", f"one of: {known}")
    return found


def load_topology(settings: Settings) -> Topology:
    """Reads and checks the topology file.

    Raises ConfigurationError for a file that is missing or wrong (naming file and field), PlacementError for
    loopback addresses in profile `production`.
    """
    source = settings.topology or REPOSITORY / "topology.toml"
    try:
        content = TopologyFile.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"topology {source}: {error.strerror}", "set CAPIBARA6_TOPOLOGY to a file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"topology {source}: {error}", "correct the file") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ConfigurationError(f"topology {source}: {faults}", "correct the file") from None
    missing = [name for name in NODES if name not in content.nodes]
    if missing:
        raise ConfigurationError(f"topology {source}: no [nodes.{missing[0]}]", "give every node an address")
    if settings.node is not None and settings.node not in NODES:
        raise ConfigurationError(f"no node is called {settings.node!r}", f"one of: {', '.join(NODES)}")
    if settings.profile == "production":
        for name, entry in content.nodes.items():
            if is_loopback(entry.address):
                raise PlacementError(
                    f"topology {source}: node {name} has a loopback address ({entry.address}): no other reaches it",
                    "profile `production` needs each node's real address; for one laptop use profile `local`",
                )
    node: NodeName | None = next((n for n in NODES if n == settings.node), None)
    without = services_named(settings.without)
    return Topology(source, content.nodes, settings.port_offset, node, settings.database_url is not None, without)


def keys_needed(settings: Settings, name: str) -> bool:
    """`Topology.asks_for_keys` of this installation."""
    return load_topology(settings).asks_for_keys(settings.profile, name)
