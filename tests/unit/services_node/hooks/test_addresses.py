"""Where runs may be told, and how an error is told in one line."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from services_node.chat_api.hooks.addresses import checked_url, public_or
from services_node.chat_api.hooks.sending import told
from stack.topology import NodeEntry, Topology
from wire.errors import ValidationFailed


def topology(services: str) -> Topology:
    nodes = {name: NodeEntry(address=services) for name in ("models-europe", "services", "frontend")}
    return Topology(Path("t"), nodes, 0, None, external_database=False)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://93.184.216.34/", "invalid_url"),
        ("file:///etc/passwd", "invalid_url"),
        ("93.184.216.34/ended", "invalid_url"),
        ("http:///ended", "invalid_url"),
        ("http://[::1", "invalid_url"),
        ("", "invalid_url"),
        ("http://ana:secret@93.184.216.34/", "url_with_credentials"),
        ("http://93.184.216.34/" + "a" * 2048, "url_too_long"),
        ("http://10.0.0.2/", "address_refused"),
        ("http://127.0.0.1:5678/", "address_refused"),
        ("http://[::1]:5678/", "address_refused"),
        ("http://[::ffff:127.0.0.1]/", "address_refused"),
        ("http://169.254.169.254/latest/meta-data", "address_refused"),
        ("http://2130706433/", "address_refused"),
    ],
)
async def test_what_may_not_be_told_is_refused_at_once(url: str, code: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await checked_url(url, "callback_url", topology("10.0.0.1"))
    assert (refused.value.code, refused.value.param, refused.value.status) == (code, "callback_url", 422)


@pytest.mark.parametrize("url", ["http://93.184.216.34/ended?of=1", "http://10.0.0.1:5678/webhook-waiting/7"])
async def test_public_addresses_and_the_nodes_own_are_told(url: str) -> None:
    assert await checked_url(url, "url", topology("10.0.0.1")) == url


async def test_on_one_machine_its_own_addresses_are_the_nodes() -> None:
    here = topology("127.0.0.1")
    for url in ("http://127.0.0.1:5678/a", "http://localhost:5678/a", "http://[::1]:5678/a"):
        assert await checked_url(f"{url}#part", "url", here) == url
    with pytest.raises(ValidationFailed):
        await checked_url("http://192.168.1.1/", "url", here)


def test_one_node_on_this_machine_opens_no_other_private_address() -> None:
    refusal = public_or(frozenset({ip_address("127.0.0.1"), ip_address("10.0.0.1")}))
    assert refusal(ip_address("10.0.0.1")) is None and refusal(ip_address("::1")) is None
    assert refusal(ip_address("10.0.0.2")) == "private" and refusal(ip_address("169.254.0.1")) == "link-local"


@pytest.mark.parametrize(
    ("status", "kind", "body", "words"),
    [
        (302, "text/html", b"", "answered 302: redirects are not followed"),
        (502, "text/html; charset=utf-8", b"<html>secret</html>", "answered 502 with a page of HTML"),
        (500, "text/plain", b"it\n broke \x1b[31m", "answered 500: it broke [31m"),
        (404, "", b"", "answered 404"),
        (400, "application/json", b"x" * 999, "answered 400: " + "x" * 200),
    ],
)
def test_an_error_is_told_in_one_line(status: int, kind: str, body: bytes, words: str) -> None:
    assert told(status, kind, body) == words
