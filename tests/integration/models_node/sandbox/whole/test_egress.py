"""The one way out of a sandbox, where hosts are listed: from inside its network, through the gateway, to the host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.integration.models_node.sandbox.whole.conftest import Node, make_node

FETCH = """
import urllib.request, urllib.error
def fetch(url):
    try: return urllib.request.urlopen(url, timeout=10).read().decode()
    except urllib.error.HTTPError as error: return f'{error.code} {error.read().decode()}'
    except OSError as error: return type(error).__name__
"""


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from outside")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def outside() -> Iterator[int]:
    """Port of a server on the host's loopback: an address that is only reached when it is listed literally."""
    server = HTTPServer(("127.0.0.1", 0), Hello)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def open_node(tmp_path: Path, outside: int) -> Iterator[Node]:
    variables = {"CAPIBARA6_SANDBOX_UIDS": "62500", "CAPIBARA6_SANDBOX_EGRESS": f"127.0.0.1:{outside}"}
    made = make_node(tmp_path, offset=22_000, variables=variables)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def test_listed_hosts_are_reached_and_no_others(open_node: Node, outside: int) -> None:
    sandbox = open_node.create(timeout=60)

    def fetch(url: str) -> str:
        return "".join(sandbox.run_code(FETCH + f"print(fetch({url!r}))").logs.stdout).strip()

    assert fetch(f"http://127.0.0.1:{outside}/") == "hello from outside"
    own_port = 8086 + open_node.offset
    for url in (f"http://127.0.0.1:{own_port}/stats", f"http://localhost:{outside}/", "http://169.254.169.254/latest"):
        assert fetch(url).startswith("403"), url
    direct = f"import socket; socket.create_connection(('127.0.0.1', {outside}), 2)"
    assert sandbox.run_code(direct).error is not None, "there is no way but the proxy"
    sandbox.kill()


def test_a_creator_can_do_without(open_node: Node, outside: int) -> None:
    sandbox = open_node.create(timeout=60, allow_internet_access=False)
    assert "".join(sandbox.run_code(FETCH + f"print(fetch('http://127.0.0.1:{outside}/'))").logs.stdout).strip() == (
        "URLError"
    )
    sandbox.kill()
