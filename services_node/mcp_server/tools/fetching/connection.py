"""Connections to the very address that was checked: a name is resolved once, so that it cannot turn meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import httpcore

from services_node.mcp_server.errors import ToolFailed
from services_node.mcp_server.tools.fetching.addresses import Address, Refusal

MOST_ADDRESSES = 3  # of a host are tried


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
        addresses = await resolved(host, port)
        for address in addresses:
            if (why := self._refusal(address)) is not None:
                raise ToolFailed(f"`{host}` is at an address that is not fetched ({why}): only public pages are.")
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
        raise ToolFailed("Only http and https are fetched.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def resolved(host: str, port: int) -> list[Address]:
    """Every address of a host, as the resolver orders them. Raises ToolFailed when it has none."""
    bare = host.strip("[]")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(bare, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise ToolFailed(f"`{bare[:200]}` is not found: no such host.") from None
    addresses = dict.fromkeys(ip_address(str(one[4][0])) for one in found)
    return list(addresses)
