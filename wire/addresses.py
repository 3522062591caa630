"""Which addresses belong to the public internet, and connections to the very address that was looked at.

For whoever calls a URL that somebody else chose: a name is resolved once, so that it cannot turn meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpcore

Address = IPv4Address | IPv6Address
Refusal = Callable[[Address], str | None]  # why an address may not be asked, or None

MOST_ADDRESSES = 3  # of a host are tried
# Threads of its own: a name server that is away keeps them for long, and nobody else waits for these.
_RESOLVING = ThreadPoolExecutor(8, thread_name_prefix="resolving")

_REFUSED_V4 = tuple(
    (ip_network(network), why)
    for network, why in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a provider's customers"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "for documentation"),
        ("192.31.196.0/24", "reserved"),
        ("192.52.193.0/24", "reserved"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved"),
        ("198.18.0.0/15", "for measurements"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_PUBLIC_V6 = ip_network("2000::/3")
_REFUSED_V6 = tuple(
    (ip_network(network), why)
    for network, why in (
        ("2001::/23", "reserved (Teredo among others)"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "6to4, which leads to an IPv4 address"),
        ("2620:4f:8000::/48", "reserved"),
        ("3fff::/20", "for documentation"),
    )
)


class AddressRefused(Exception):
    """A host at an address that may not be asked. why: what that address is."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(f"{host} is at an address that is not asked ({why})")
        self.host, self.why = host, why


class HostNotFound(Exception):
    def __init__(self, host: str) -> None:
        super().__init__(f"{host} is not found: no such host")
        self.host = host


def refused(address: Address) -> str | None:
    """Why an address is not public, or None when it is.

    IPv6 beyond 2000::/3 is refused whole: loopback, link-local, private (fc00::/7), multicast, and what carries an IPv4
    address inside (mapped ::ffff:0:0/96, compatible ::/96, NAT64 64:ff9b::/96 and 64:ff9b:1::/48).
    """
    if isinstance(address, IPv4Address):
        return next((why for network, why in _REFUSED_V4 if address in network), None)
    if address.scope_id is not None:
        return "link-local"
    if address not in _PUBLIC_V6:
        return "not public"
    return next((why for network, why in _REFUSED_V6 if address in network), None)


async def resolved(host: str, port: int) -> list[Address]:
    """Every address of a host, as the resolver orders them. Raises HostNotFound when it has none."""
    bare = host.strip("[]")
    with contextlib.suppress(ValueError):
        return [ip_address(bare)]
    loop = asyncio.get_running_loop()
    try:
        found = await loop.run_in_executor(_RESOLVING, _getaddrinfo, bare, port)
    except (OSError, UnicodeError):
        raise HostNotFound(bare[:200]) from None
    addresses = dict.fromkeys(ip_address(str(one[4][0])) for one in found)
    return list(addresses)


def _getaddrinfo(host: str, port: int) -> list[tuple[Any, ...]]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


async def checked_addresses(host: str, port: int, refusal: Refusal) -> list[Address]:
    """The addresses of a host. Raises AddressRefused when any of them may not be asked, HostNotFound."""
    addresses = await resolved(host, port)
    for address in addresses:
        if (why := refusal(address)) is not None:
            raise AddressRefused(host, why)
    return addresses


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a host, refuses it when any of its addresses is refused, and connects to one of those addresses.

    TLS still asks for the host's name and checks its certificate: httpcore takes that from the URL.
    """

    def __init__(self, refusal: Refusal) -> None:
        self._refusal = refusal
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await checked_addresses(host, port, self._refusal)
        failed: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses[:MOST_ADDRESSES]:
            try:
                return await self._network.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise AddressRefused(path[:200], "a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
