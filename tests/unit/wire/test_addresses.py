"""Which addresses are public, and that a connection goes to the address that was looked at."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import httpcore
import pytest

from wire import addresses
from wire.addresses import AddressRefused, CheckedBackend, HostNotFound, refused


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "172.15.0.1", "100.63.255.255", "2606:4700::1111", "2a00:1450::1"]
)
def test_public_addresses_may_be_asked(address: str) -> None:
    assert refused(ip_address(address)) is None


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1", "169.254.169.254",
        "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1",
        "198.51.100.1", "203.0.113.9", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::7f00:1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1",
        "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "fc00::1", "fd12:3456::1", "fe80::1",
        "fe80::1%eth0", "fec0::1", "ff02::1", "2620:4f:8000::1", "4000::1",
    ],
)  # fmt: skip
def test_every_other_address_is_refused(address: str) -> None:
    assert refused(ip_address(address)) is not None


@pytest.mark.parametrize(
    "host", ["localhost", "127.1", "2130706433", "0x7f.0.0.1", "017700000001", "[::1]", "127.0.0.1"]
)
async def test_a_name_for_this_machine_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises((AddressRefused, HostNotFound)):
        await CheckedBackend(refused).connect_tcp(host, 80)


async def test_a_host_with_one_private_address_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    async def both(host: str, port: int) -> list[Any]:
        return [ip_address("93.184.216.34"), ip_address("10.0.0.1")]

    monkeypatch.setattr(addresses, "resolved", both)
    with pytest.raises(AddressRefused, match="private"):
        await CheckedBackend(refused).connect_tcp("rebinding.example", 80)


async def test_a_connection_goes_to_the_address_that_was_checked_and_no_name_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, connected = [], []

    async def resolved(host: str, port: int) -> list[Any]:
        asked.append(host)
        return [ip_address("93.184.216.34")]

    async def connect(self: Any, host: str, *rest: Any) -> None:
        connected.append(host)
        raise httpcore.ConnectError("no network in tests")

    monkeypatch.setattr(addresses, "resolved", resolved)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    with pytest.raises(httpcore.ConnectError):
        await CheckedBackend(refused).connect_tcp("example.org", 80)
    assert asked == ["example.org"] and connected == ["93.184.216.34"]


async def test_no_unix_socket_is_ever_opened() -> None:
    with pytest.raises(AddressRefused):
        await CheckedBackend(lambda address: None).connect_unix_socket("/var/run/docker.sock")
