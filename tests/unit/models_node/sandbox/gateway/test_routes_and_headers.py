"""What clients may reach in a sandbox, and what passes with it."""

from __future__ import annotations

import base64
import inspect
import re

import pytest
from e2b.envd.filesystem import filesystem_connect
from e2b.envd.process import process_connect
from hypothesis import given
from hypothesis import strategies as st

from models_node.sandbox.gateway.headers import to_client, to_sandbox
from models_node.sandbox.gateway.routes import ENVD_PORT, FILESYSTEM, INTERPRETER_PORT, PROCESS, Kind, route_of


def test_the_calls_are_those_of_the_sdks_own_stubs() -> None:
    """A version of `e2b` that adds one is seen here."""
    source = inspect.getsource(process_connect) + inspect.getsource(filesystem_connect)
    known = set(re.findall(r'"(/(?:process\.Process|filesystem\.Filesystem)/\w+)"', source))
    assert len(known) == len(PROCESS) + len(FILESYSTEM)
    assert all(route_of(ENVD_PORT, "POST", path) for path in known)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/health", Kind.UNARY),
        ("GET", "/envs", Kind.UNARY),
        ("GET", "/files", Kind.DOWNLOAD),
        ("POST", "/files", Kind.UPLOAD),
        ("POST", "/process.Process/Start", Kind.STREAM),
        ("POST", "/process.Process/StreamInput", Kind.INPUT),
        ("POST", "/process.Process/SendInput", Kind.UNARY),
        ("POST", "/filesystem.Filesystem/WatchDir", Kind.STREAM),
        ("POST", "/filesystem.Filesystem/Stat", Kind.UNARY),
    ],
)
def test_envds_routes_ask_for_its_token(method: str, path: str, kind: Kind) -> None:
    route = route_of(ENVD_PORT, method, path)
    assert route is not None
    assert route.kind is kind
    assert (route.envd_token, route.traffic_token) == (True, False)


def test_executions_ask_for_both_tokens_and_contexts_for_the_traffic_token() -> None:
    execute = route_of(INTERPRETER_PORT, "POST", "/execute")
    assert execute is not None
    assert (execute.envd_token, execute.traffic_token) == (True, True)
    for method, path in (
        ("GET", "/contexts"),
        ("POST", "/contexts"),
        ("DELETE", "/contexts/a-1"),
        ("POST", "/contexts/a-1/restart"),
    ):
        route = route_of(INTERPRETER_PORT, method, path)
        assert route is not None
        assert (route.envd_token, route.traffic_token) == (False, True)


@given(st.sampled_from([ENVD_PORT, INTERPRETER_PORT, "", "80"]), st.text(max_size=8), st.text(max_size=40))
def test_whatever_else_is_asked_for_is_no_route(port: str, method: str, path: str) -> None:
    route = route_of(port, method, path)
    if route is not None:
        assert path.startswith(("/health", "/envs", "/files", "/process.", "/filesystem.", "/execute", "/contexts"))


@pytest.mark.parametrize(
    "path", ["/init", "/ready", "/health/", "/files/", "//health", "/contexts/", "/contexts/a/b", "/contexts/../init"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS"])
def test_near_misses_are_no_routes(method: str, path: str) -> None:
    assert route_of(ENVD_PORT, method, path) is None
    assert route_of(INTERPRETER_PORT, method, path) is None


def test_only_listed_headers_pass_inwards() -> None:
    sent = [
        (b"host", b"gateway"),
        (b"x-api-key", b"k"),
        (b"x-access-token", b"t"),
        (b"e2b-traffic-access-token", b"t"),
        (b"e2b-sandbox-id", b"s"),
        (b"cookie", b"c"),
        (b"connection", b"keep-alive"),
        (b"transfer-encoding", b"chunked"),
        (b"content-length", b"5"),
        (b"content-type", b"application/json"),
        (b"connect-protocol-version", b"1"),
        (b"x-metadata-kind", b"csv"),
    ]
    kept = [
        (b"content-type", b"application/json"),
        (b"connect-protocol-version", b"1"),
        (b"x-metadata-kind", b"csv"),
    ]
    assert to_sandbox(sent, keep_length=False) == kept
    assert (b"content-length", b"5") in to_sandbox(sent, keep_length=True)


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        (b"Basic " + base64.b64encode(b"user:"), True),
        (b"basic " + base64.b64encode(b"root:"), True),
        (b"Basic " + base64.b64encode(b"user:secret"), False),
        (b"Basic " + base64.b64encode(b"secret"), False),
        (b"Basic " + base64.b64encode(b"x" * 100 + b":"), False),
        (b"Basic no base64", False),
        (b"Bearer key", False),
        (b"", False),
    ],
)
def test_authorization_passes_only_as_a_user_name(value: bytes, passes: bool) -> None:
    assert bool(to_sandbox([(b"authorization", value)], keep_length=False)) is passes


def test_only_listed_headers_pass_outwards() -> None:
    told = [(b"set-cookie", b"a"), (b"location", b"x"), (b"www-authenticate", b"x"), (b"content-type", b"text/html")]
    names = dict(to_client(told))
    assert set(names) == {b"content-type", b"x-content-type-options", b"content-security-policy"}
