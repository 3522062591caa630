"""Which addresses may be told of runs: the public internet's, and those of the installation's own nodes."""

from __future__ import annotations

import asyncio

import httpx

from stack.topology import Topology
from wire.addresses import (
    Address,
    AddressRefused,
    HostNotFound,
    Refusal,
    checked_addresses,
    refused,
    resolved,
)
from wire.errors import ValidationFailed

PORTS = {"http": 80, "https": 443}
MAX_URL_CHARS = 2048
RESOLVE_SECONDS = 5.0  # for all names together, when a request is checked


def parsed(url: str, param: str) -> httpx.URL:
    """Raises ValidationFailed naming the field for what is no URL that may be told."""

    def wrong(words: str, code: str) -> ValidationFailed:
        return ValidationFailed(f"`{param}` {words}", param=param, code=code)

    if len(url) > MAX_URL_CHARS:
        raise wrong(f"has {len(url)} characters; at most {MAX_URL_CHARS} are taken.", "url_too_long")
    try:
        known = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise wrong("is not a URL.", "invalid_url") from None
    if known.scheme not in PORTS or not known.raw_host:
        raise wrong("is not a URL of http or https, as https://example.org/ended.", "invalid_url")
    if known.userinfo:
        raise wrong(
            "has a user name or password in it. Leave them out: what is sent is signed.", "url_with_credentials"
        )
    told = known.copy_with(fragment=None)
    if len(str(told)) > MAX_URL_CHARS:  # written out: `ñ` is six characters there
        raise wrong(f"has {len(str(told))} characters when it is sent; at most {MAX_URL_CHARS} are.", "url_too_long")
    return told


def public_or(known: frozenset[Address]) -> Refusal:
    """The public internet's addresses, and these; all of this machine's where one of these is of this machine."""
    here = any(address.is_loopback for address in known)

    def refusal(address: Address) -> str | None:
        if address in known or (here and address.is_loopback):
            return None
        return refused(address)

    return refusal


async def node_addresses(topology: Topology) -> frozenset[Address]:
    """Every address of every node, as they are now."""
    found: set[Address] = set()
    for node in topology.nodes.values():
        try:
            found.update(await resolved(node.address, 0))
        except HostNotFound:
            continue
    return frozenset(found)


async def checked_url(url: str, param: str, topology: Topology) -> str:
    """The URL as it is told. Raises ValidationFailed naming the field; each delivery looks at the address again."""
    known = parsed(url, param)
    port = known.port or PORTS[known.scheme]
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            known_here = public_or(await node_addresses(topology))
            await checked_addresses(known.raw_host.decode(), port, known_here)
    except AddressRefused as error:
        raise ValidationFailed(
            f"`{param}` is at an address that is not told of runs ({error.why}): public ones are, and the nodes' own.",
            param=param,
            code="address_refused",
        ) from None
    except (HostNotFound, TimeoutError):
        raise ValidationFailed(
            f"`{param}` names a host that is not found.", param=param, code="host_not_found"
        ) from None
    return str(known)
