"""Who may call by which name: `Host` and `Origin`, so that a page in a browser cannot reach a service on loopback.

Pure. (DNS rebinding: a page of evil.example whose name points to 127.0.0.1 would otherwise be same-origin with it. And
a page of any site may post to 127.0.0.1 without asking, though it cannot read the answer.)
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from stack.errors import ConfigurationError
from stack.settings import Settings
from stack.topology import Topology, is_loopback
from wire.errors import Forbidden, InvalidRequest

SETTING = "CAPIBARA6_ALLOWED_ORIGINS"
ANY_PORT = "*"
_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Admission:
    """nodes: addresses of the installation, under which, as under every name of loopback, its services may be called
    and its pages come. hosts: further names, without a port. origins: (scheme, host, port) of further pages; port `*`
    means any. Addresses of IPv6 stand in brackets.
    """

    nodes: frozenset[str]
    hosts: frozenset[str]
    origins: frozenset[tuple[str, str, str]]

    def check(self, host: str | None, origin: str | None) -> None:
        """Raises ApiError: 421 unknown_host, 403 unknown_origin."""
        if not self.host(host):
            raise InvalidRequest(
                f"This service is not called by the name in `Host`: add it to {SETTING} (docs/settings.md).",
                code="unknown_host",
                status=421,
            )
        if not self.origin(origin):
            raise Forbidden(
                f"Pages of this origin may not call this service: add it to {SETTING} (docs/settings.md).",
                code="unknown_origin",
            )

    def host(self, header: str | None) -> bool:
        if header is None:
            return False
        name = _split(header.lower())[0]
        return name in self.hosts or self._own(name)

    def origin(self, header: str | None) -> bool:
        """None is no page in a browser: programs send no Origin."""
        if header is None:
            return True
        scheme, separator, rest = header.lower().partition("://")
        if not separator or scheme not in _SCHEMES:
            return False
        host, port = _split(rest)
        return self._own(host) or any((scheme, host, seen) in self.origins for seen in (port, ANY_PORT))

    def _own(self, name: str) -> bool:
        return name in self.nodes or is_loopback(name[1:-1] if name.startswith("[") and name.endswith("]") else name)


def admission(settings: Settings, topology: Topology) -> Admission:
    """Loopback, the nodes' addresses, and what the setting `allowed_origins` adds.

    Raises ConfigurationError for an origin that is none.
    """
    addresses = (entry.address for entry in topology.nodes.values())
    nodes = frozenset(f"[{address}]" if ":" in address else address.lower() for address in addresses)
    hosts, origins = set(), set()
    for text in filter(None, (part.strip().lower() for part in settings.allowed_origins.split(","))):
        scheme, _, rest = text.partition("://")
        host, port = _split(rest)
        if scheme not in _SCHEMES or not host or "/" in rest or urlsplit(f"//{host}").hostname is None:
            raise ConfigurationError(f"{SETTING}: {text!r} is no origin", "write `https://host` or `https://host:*`")
        hosts.add(host)
        origins.add((scheme, host, port))
    return Admission(nodes, frozenset(hosts), frozenset(origins))


def _split(authority: str) -> tuple[str, str]:
    """Host and port; the port is empty where none is said."""
    if authority.startswith("["):
        host, bracket, rest = authority.partition("]")
        return host + bracket, rest.removeprefix(":")
    host, _, port = authority.partition(":")
    return host, port
