"""Where sandboxes may connect to."""

from __future__ import annotations

import ipaddress

import hypothesis.strategies as st
import pytest
from hypothesis import given

from models_node.sandbox.gateway.egress_rules import EgressRules, is_public, split_authority
from stack.errors import ConfigurationError


@pytest.mark.parametrize(
    ("rules", "host", "port", "allowed"),
    [
        ("", "example.com", 443, False),
        ("example.com", "example.com", 443, True),
        ("example.com", "example.com", 80, True),
        ("example.com", "example.com", 22, False),
        ("example.com", "EXAMPLE.com.", 443, True),
        ("example.com", "www.example.com", 443, False),
        ("example.com", "notexample.com", 443, False),
        (".example.com", "www.example.com", 443, True),
        (".example.com", "a.b.example.com", 443, True),
        (".example.com", "example.com", 443, False),
        (".example.com", "badexample.com", 443, False),
        ("example.com:8443", "example.com", 8443, True),
        ("example.com:8443", "example.com", 443, False),
        ("a.com, .b.org:80 ,", "x.b.org", 80, True),
        ("192.0.2.7", "192.0.2.7", 443, True),
        ("192.0.2.7", "192.0.2.8", 443, False),
        ("2001:db8::1", "2001:db8::1", 443, True),
        ("[2001:db8::1]:8080", "2001:DB8:0::1", 8080, True),
        ("example.com", "192.0.2.7", 443, False),
        (".com", "0x7f.com", 443, True),
        (".7", "127.0.0.7", 80, False),
        ("example.com", "exa mple.com", 443, False),
        ("example.com", "example.com\r\n", 443, False),
        ("example.com", "", 443, False),
    ],
)
def test_hosts_are_allowed_by_name(rules: str, host: str, port: int, allowed: bool) -> None:
    assert EgressRules.parse(rules).allows(host, port) is allowed


@pytest.mark.parametrize(
    "text", ["*", "http://a.com", "a.com:x", "a.com:0", "a.com:99999", ".", ".192.0.2.7", "a b", "a/b"]
)
def test_a_wrong_list_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(ConfigurationError, match="CAPIBARA6_SANDBOX_EGRESS"):
        EgressRules.parse(text)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:0:0:0:0:80ff:fffe",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_of_this_side_are_not_reachable(address: str) -> None:
    assert not EgressRules.parse(".com").reachable(ipaddress.ip_address(address), 443)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101"])
def test_public_addresses_are(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_a_listed_address_is_reachable_at_its_port() -> None:
    rules = EgressRules.parse("db.internal:5432, 10.0.0.5:5432")
    assert rules.reachable(ipaddress.ip_address("10.0.0.5"), 5432)
    assert not rules.reachable(ipaddress.ip_address("10.0.0.5"), 80)
    assert not rules.reachable(ipaddress.ip_address("10.0.0.6"), 5432)


@given(st.ip_addresses(v=4))
def test_wrapped_addresses_are_judged_by_what_is_inside(address: ipaddress.IPv4Address) -> None:
    assert is_public(ipaddress.ip_address(f"::ffff:{address}")) == is_public(address)


@pytest.mark.parametrize(
    ("authority", "split"),
    [
        ("a.com:443", ("a.com", 443)),
        ("[::1]:443", ("::1", 443)),
        ("a.com", None),
        ("a.com:", None),
        ("a.com:0", None),
        ("a.com:65536", None),
        ("user@a.com:443", None),
        ("a.com:443:443", None),
        ("[::1", None),
    ],
)
def test_authorities_are_host_and_port(authority: str, split: tuple[str, int] | None) -> None:
    assert split_authority(authority, None) == split
