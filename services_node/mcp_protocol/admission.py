"""Who may call by which name: `Host` and `Origin`, so that a page in a browser cannot reach a server on loopback.

Pure. (DNS rebinding: a page of evil.example whose name points to 127.0.0.1 would otherwise be same-origin with it.)
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from stack.errors import ConfigurationError
from stack.settings import Settings
from stack.topology import Topology

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
ANY_PORT = "*"


@dataclass(frozen=True, slots=True)
class Admission:
    """hosts: names under which this server may be called, without a port. origins: (scheme, host, port) of pages that
    may call it; port `*` means any.
    """

    hosts: frozenset[str]
    origins: frozenset[tuple[str, str, str]]

    def host(self, header: str | None) -> bool:
        return header is not None and _split(header.lower())[0] in self.hosts

    def origin(self, header: str | None) -> bool:
        """None is no page in a browser: programs send no Origin."""
        if header is None:
            return True
        scheme, separator, rest = header.lower().partition("://")
        host, port = _split(rest)
        return bool(separator) and any((scheme, host, seen) in self.origins for seen in (port, ANY_PORT))


def admission(settings: Settings, topology: Topology) -> Admission:
    """Loopback, the addresses of `services` and `frontend`, and what `mcp_allowed_origins` adds.

    Raises ConfigurationError for an origin that is none.
    """
    nodes = {entry.address for name, entry in topology.nodes.items() if name in ("services", "frontend")}
    own = {f"[{address}]" if ":" in address else address.lower() for address in nodes} | set(LOOPBACK)
    hosts, origins = set(own), {(scheme, host, ANY_PORT) for host in own for scheme in ("http", "https")}
    for text in filter(None, (part.strip().lower() for part in settings.mcp_allowed_origins.split(","))):
        scheme, _, rest = text.partition("://")
        host, port = _split(rest)
        if scheme not in ("http", "https") or not host or "/" in rest or urlsplit(f"//{host}").hostname is None:
            raise ConfigurationError(
                f"CAPIBARA6_MCP_ALLOWED_ORIGINS: {text!r} is no origin", "write `https://host` or `https://host:*`"
            )
        hosts.add(host)
        origins.add((scheme, host, port))
    return Admission(frozenset(hosts), frozenset(origins))


def _split(authority: str) -> tuple[str, str]:
    """Host and port; the port is empty where none is said."""
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        return host + bracket, rest.removeprefix(":")
    host, _, port = authority.partition(":")
    return host, port
