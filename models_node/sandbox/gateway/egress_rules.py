"""Where sandboxes may connect to: the hosts of CAPIBARA6_SANDBOX_EGRESS, and of the addresses they resolve to only
those that are public. Pure code."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from stack.errors import ConfigurationError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

DEFAULT_PORTS = frozenset({80, 443})
NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry. name: of a host, or with suffix of everything below it. address: in the place of a name. port: None
    for 80 and 443."""

    name: str
    suffix: bool
    address: Address | None
    port: int | None

    def matches(self, host: str, address: Address | None, port: int) -> bool:
        if port not in (DEFAULT_PORTS if self.port is None else {self.port}):
            return False
        if self.address is not None or address is not None:
            return self.address == address
        return host.endswith(f".{self.name}") if self.suffix else host == self.name


class EgressRules:
    def __init__(self, rules: tuple[Rule, ...] = ()) -> None:
        self._rules = rules

    @classmethod
    def parse(cls, text: str) -> EgressRules:
        """`name`, `.suffix` or an address, each with or without `:port`, comma-separated. Raises ConfigurationError."""
        return cls(tuple(_rule(entry.strip()) for entry in text.split(",") if entry.strip()))

    @property
    def any(self) -> bool:
        return bool(self._rules)

    def allows(self, host: str, port: int) -> bool:
        """Whether a host, as a client names it, may be asked for. An address: only where it is listed itself."""
        plain = normal(host)
        address = parse_address(plain)
        if address is None and not NAME.fullmatch(plain):
            return False
        return any(rule.matches(plain, address, port) for rule in self._rules)

    def reachable(self, address: Address, port: int) -> bool:
        """Whether an address that a name resolved to may be connected to: public ones, and those listed themselves."""
        listed = any(rule.address == address and rule.matches("", address, port) for rule in self._rules)
        return listed or is_public(address)


def normal(host: str) -> str:
    return host.lower().removesuffix(".")


def parse_address(host: str) -> Address | None:
    """None for what is no literal address. An IPv6 zone makes it none."""
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")) if "%" not in host else None
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Neither of this machine nor of a private, link-local, metadata, shared, multicast or reserved network, also not
    wrapped into IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if wrapped is None and address in NAT64:
            wrapped = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if wrapped is not None:
            return is_public(wrapped)
        if address.is_site_local:
            return False
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_unspecified
        and not address.is_loopback
        and not address.is_link_local
    )


def split_authority(authority: str, default_port: int | None) -> tuple[str, int] | None:
    """`host:port`, `[v6]:port`; None for anything else, and for a missing port without a default."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:@/?#\s]+)(?::(\d{1,5}))?", authority)
    if match is None:
        return None
    port = int(match[2]) if match[2] else default_port
    if port is None or not 0 < port < 65536:
        return None
    return match[1].removeprefix("[").removesuffix("]"), port


def _rule(entry: str) -> Rule:
    suffix = entry.startswith(".")
    plain = entry.removeprefix(".")
    if parse_address(plain) is not None:  # an IPv6 address without brackets has colons of its own
        host, port = plain, None
    elif split := split_authority(plain, 1):
        host, port = split[0], split[1] if re.search(r":\d+$", plain) else None
    else:
        raise _wrong(entry)
    host = normal(host)
    address = parse_address(host)
    if (suffix and address is not None) or (address is None and not NAME.fullmatch(host)):
        raise _wrong(entry)
    return Rule("" if address is not None else host, suffix, address, port)


def _wrong(entry: str) -> ConfigurationError:
    return ConfigurationError(
        f"settings: CAPIBARA6_SANDBOX_EGRESS: {entry!r} is no host",
        "write `name`, `.suffix`, `name:port` or an address",
    )
