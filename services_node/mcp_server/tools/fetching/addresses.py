"""Which URLs and which addresses may be fetched: the public internet's, and nothing that only looks like it."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from ipaddress import IPv4Address, IPv6Address, ip_network

import httpx

from services_node.mcp_server.errors import ToolFailed

Address = IPv4Address | IPv6Address
Refusal = Callable[[Address], str | None]  # why an address may not be asked, or None

MAX_URL_CHARS = 2048
PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:(?!\d)")  # `example.org:80` has none

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


def checked_url(text: str, ports: Set[int]) -> httpx.URL:
    """A URL that may be asked, without its fragment; `https://` is added where no scheme is given.

    ports: those that may be asked. Raises ToolFailed, which says what is wrong with it.
    """
    given = text.strip().strip("<>")
    if not given or len(given) > MAX_URL_CHARS:
        raise ToolFailed(f"Give one URL, as `https://example.org/page`, of at most {MAX_URL_CHARS} characters.")
    if not _SCHEME.match(given):
        given = f"https://{given}"
    try:
        url = httpx.URL(given)
    except (httpx.InvalidURL, ValueError):
        raise ToolFailed(f"`{given[:200]}` is not a URL. Give one as `https://example.org/page`.") from None
    return checked(url, ports)


def checked(url: httpx.URL, ports: Set[int]) -> httpx.URL:
    """The same URL without its fragment. Raises ToolFailed for one that may not be asked."""
    if url.scheme not in PORTS:
        raise ToolFailed(f"Only http and https are fetched, not `{url.scheme[:20]}`.")
    if url.userinfo:
        raise ToolFailed("A URL with a user name or password in it is not fetched. Leave them out.")
    if not url.raw_host:
        raise ToolFailed(f"`{str(url)[:200]}` names no host. Give a URL as `https://example.org/page`.")
    port = url.port or PORTS[url.scheme]
    if port not in ports:
        allowed = ", ".join(str(one) for one in sorted(ports))
        raise ToolFailed(f"Port {port} is not fetched; allowed: {allowed} (CAPIBARA6_FETCH_PORTS).")
    return url.copy_with(fragment=None)
