"""Readiness, asked from outside as any load balancer would."""

from __future__ import annotations

import errno
import socket
import ssl
from dataclasses import dataclass

import httpx
import psutil

from stack.topology import Service, Topology

PROBE_SECONDS = 3.0
# Probes are plain HTTP, and this is used for none. Without it httpx reads every certificate authority anew for each of
# them: 40 ms of a core that the services which are starting need.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, slots=True)
class Probe:
    """reason: what is missing, for a person; empty when ready. unavailable: this machine cannot offer the service as it
    is, and waiting will not change that; `reason` says how to mend it.
    """

    ready: bool
    reason: str
    unavailable: bool = False


def probe(topology: Topology, service: Service) -> Probe:
    """Asks one service of this machine whether it can do its work."""
    host, port = topology.local_host(service.name), topology.port(service.name)
    if service.ready_path is None:
        try:
            with socket.create_connection((host.strip("[]"), port), timeout=PROBE_SECONDS):
                return Probe(True, "")
        except OSError as error:
            return Probe(False, error.strerror or str(error))
    try:
        url = f"http://{host}:{port}{service.ready_path}"
        reply = httpx.get(url, timeout=PROBE_SECONDS, trust_env=False, verify=NO_TLS)
    except httpx.HTTPError as error:
        return Probe(False, str(error) or type(error).__name__)
    if reply.status_code == 200:
        return Probe(True, "")
    try:
        content = reply.json()
        if content.get("status") == "unavailable":
            return Probe(False, ": ".join(str(content[part]) for part in ("reason", "mend") if content.get(part)), True)
        checks = content.get("checks", {})
        faults = [f"{name}: {state}" for name, state in checks.items() if state != "ok"]
    except (ValueError, AttributeError):
        faults = []
    return Probe(False, "; ".join(faults) or f"{service.ready_path} answers {reply.status_code}")


def port_is_free(host: str, port: int) -> bool:
    """Whether a service could listen there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host.strip("[]"), port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE  # an address that isn't this machine's is told by the service itself
    return True


def port_holder(port: int) -> str:
    """The process that listens on a port, in words; other users' processes can be invisible."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        connections = []
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            if connection.pid is None:
                break
            try:
                process = psutil.Process(connection.pid)
                return f"process {connection.pid} ({' '.join(process.cmdline())[:80] or process.name()})"
            except psutil.Error:
                return f"process {connection.pid}"
    return "a process this user cannot see"
