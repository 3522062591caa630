"""The proxy out of a sandbox, between servers on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator

import pytest

from models_node.sandbox.gateway import egress
from models_node.sandbox.gateway.egress import EgressProxy, Refused, parse_head
from models_node.sandbox.gateway.egress_rules import Address, EgressRules

LOOPBACK = ipaddress.ip_address("127.0.0.1")


class Origin:
    """A server that a sandbox may want: keeps what it hears, and says `hello`."""

    def __init__(self) -> None:
        self.heard = b""
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while piece := await reader.read(65536):
            self.heard += piece
            if b"\r\n\r\n" in self.heard:
                break
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
        writer.close()


class World:
    def __init__(self, origin: Origin, port: int) -> None:
        self.origin = origin
        self.port = port
        self.names: dict[str, list[Address]] = {}
        self.asked: list[str] = []
        self.proxies: list[EgressProxy] = []

    async def resolve(self, host: str, port: int) -> list[Address]:
        self.asked.append(host)
        if host not in self.names:
            raise socket.gaierror("unknown")
        return self.names[host]

    def proxy(self, rules: str) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        proxy = EgressProxy("s1", listener, EgressRules.parse(rules), self.resolve)
        proxy.start()
        self.proxies.append(proxy)
        return int(listener.getsockname()[1])

    async def ask(self, proxy: int, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
        writer.write(request)
        async with asyncio.timeout(10):
            told = await reader.read()
        writer.close()
        return told


@pytest.fixture
async def world() -> AsyncIterator[World]:
    origin = Origin()
    server = await asyncio.start_server(origin.serve, "127.0.0.1", 0)
    found = World(origin, server.sockets[0].getsockname()[1])
    yield found
    for proxy in found.proxies:
        await proxy.stop()
    server.close()


async def test_plain_http_goes_to_a_listed_host_in_origin_form(world: World) -> None:
    world.names["api.test"] = [LOOPBACK]
    proxy = world.proxy(f"api.test:{world.port}, 127.0.0.1:{world.port}")
    told = await world.ask(
        proxy,
        f"GET http://api.test:{world.port}/a?b=c HTTP/1.1\r\nHost: other.test\r\nProxy-Authorization: x\r\n"
        "Connection: keep-alive\r\nAccept: text/plain\r\n\r\n".encode(),
    )
    assert told.endswith(b"hello")
    head = f"GET /a?b=c HTTP/1.1\r\nhost: api.test:{world.port}\r\nconnection: close\r\nAccept: text/plain\r\n\r\n"
    assert world.origin.heard == head.encode()


async def test_a_tunnel_passes_bytes_both_ways(world: World) -> None:
    proxy = world.proxy(f"127.0.0.1:{world.port}")
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
    writer.write(f"CONNECT 127.0.0.1:{world.port} HTTP/1.1\r\n\r\n".encode())
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.write(b"anything\r\n\r\n")
        assert (await reader.read()).endswith(b"hello")
    assert world.origin.heard == b"anything\r\n\r\n"
    writer.close()


@pytest.mark.parametrize(
    "request_line",
    ["CONNECT other.test:443 HTTP/1.1", "GET http://other.test/ HTTP/1.1", "CONNECT api.test:22 HTTP/1.1"],
)
async def test_other_hosts_and_ports_are_refused_before_anything_is_looked_up(world: World, request_line: str) -> None:
    told = await world.ask(world.proxy("api.test"), f"{request_line}\r\n\r\n".encode())
    assert told.startswith(b"HTTP/1.1 403 ")
    assert b"sandboxes may not connect to" in told
    assert world.asked == []


async def test_a_listed_name_that_leads_inside_is_refused(world: World) -> None:
    world.names["api.test"] = [LOOPBACK, ipaddress.ip_address("169.254.169.254")]
    told = await world.ask(
        world.proxy(f"api.test:{world.port}"), f"CONNECT api.test:{world.port} HTTP/1.1\r\n\r\n".encode()
    )
    assert told.startswith(b"HTTP/1.1 403 ")
    assert b"127.0.0.1" not in told
    assert world.origin.connections == 0


async def test_a_literal_address_is_refused_unless_it_is_listed(world: World) -> None:
    told = await world.ask(world.proxy(".test"), b"CONNECT 169.254.169.254:80 HTTP/1.1\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 403 ")


async def test_an_unknown_name_and_a_closed_port_are_told_as_such(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    proxy = world.proxy(f"nowhere.test, 127.0.0.1:{port}")
    assert (await world.ask(proxy, b"CONNECT nowhere.test:443 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
    assert (await world.ask(proxy, f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n".encode())).startswith(b"HTTP/1.1 502 ")


async def test_slow_names_of_one_sandbox_take_no_more_than_its_own_places(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "RESOLVE_SECONDS", 0.2)
    end, asked = asyncio.Event(), []

    async def slow(host: str, port: int) -> list[Address]:
        asked.append(host)
        await end.wait()
        return [LOOPBACK]

    known, world.resolve = world.resolve, slow  # type: ignore[method-assign]
    proxy = world.proxy(f".slow.test:{world.port}, 127.0.0.1:{world.port}")
    requests = [f"CONNECT a{number}.slow.test:{world.port} HTTP/1.1\r\n\r\n".encode() for number in range(6)]
    told = await asyncio.gather(*(world.ask(proxy, request) for request in requests))
    assert all(each.startswith(b"HTTP/1.1 502 ") for each in told)
    assert len(asked) == egress.RESOLVES_OF_ONE_SANDBOX  # nobody waits for them any more, and they still count
    world.resolve = known  # type: ignore[method-assign]
    world.names["quick.test"] = [LOOPBACK]
    other = world.proxy(f"quick.test:{world.port}, 127.0.0.1:{world.port}")
    plain = f"GET http://quick.test:{world.port}/ HTTP/1.1\r\n\r\n".encode()
    assert (await world.ask(other, plain)).endswith(b"hello")
    end.set()
    again = f"GET http://b.slow.test:{world.port}/ HTTP/1.1\r\n\r\n".encode()
    assert (await world.ask(proxy, again)).endswith(b"hello")


async def test_a_connection_that_cannot_be_accepted_does_not_end_the_way_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "ACCEPT_PAUSE_SECONDS", 0.01)
    loop, failures = asyncio.get_running_loop(), [OSError(24, "Too many open files")] * 3
    accept = loop.sock_accept

    async def short_of_descriptors(listener: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return await accept(listener)

    monkeypatch.setattr(loop, "sock_accept", short_of_descriptors)
    proxy = world.proxy(f"127.0.0.1:{world.port}")
    assert (await world.ask(proxy, f"GET http://127.0.0.1:{world.port}/ HTTP/1.1\r\n\r\n".encode())).endswith(b"hello")
    assert not failures


async def test_only_the_announced_body_goes_on(world: World) -> None:
    proxy = world.proxy(f"127.0.0.1:{world.port}")
    url = f"http://127.0.0.1:{world.port}/"
    second = f"GET {url} HTTP/1.1\r\nHost: secret.test\r\n\r\n"
    await world.ask(proxy, f"POST {url} HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody{second}".encode())
    assert b"secret.test" not in world.origin.heard


async def test_connections_are_bounded_and_given_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "CONNECTIONS", 2)
    proxy = world.proxy(f"127.0.0.1:{world.port}")
    held = [await asyncio.open_connection("127.0.0.1", proxy) for _ in range(2)]
    request = f"GET http://127.0.0.1:{world.port}/ HTTP/1.1\r\n\r\n".encode()
    async with asyncio.timeout(10):
        while True:  # until both that are held have been accepted
            try:
                told = await world.ask(proxy, request)
            except ConnectionError:
                told = b""
            if not told:
                break
        for _, writer in held:
            writer.close()
        while not told:
            try:
                told = await world.ask(proxy, request)
            except ConnectionError:
                told = b""


async def test_a_head_that_comes_slowly_or_grows_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "HEAD_SECONDS", 0.2)
    proxy = world.proxy("a.test")
    assert (await world.ask(proxy, b"GET http://a.te")).startswith(b"HTTP/1.1 400 ")
    assert (await world.ask(proxy, b"GET http://a.test/" + b"x" * 40_000)).startswith(b"HTTP/1.1 400 ")


async def test_bytes_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "CONNECTION_BYTES", 20)
    proxy = world.proxy(f"127.0.0.1:{world.port}")
    told = await world.ask(proxy, f"GET http://127.0.0.1:{world.port}/ HTTP/1.1\r\n\r\n".encode())
    assert len(told) == 20


async def test_what_is_quiet_for_too_long_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "QUIET_SECONDS", 0.2)
    proxy = world.proxy(f"127.0.0.1:{world.port}")
    told = await world.ask(proxy, f"CONNECT 127.0.0.1:{world.port} HTTP/1.1\r\n\r\n".encode())
    assert told.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"nonsense\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\n\r\n", "400"),
        (b"GET http:// HTTP/1.1\r\n\r\n", "400"),
        (b"GET http://user:pass@a.test/ HTTP/1.1\r\n\r\n", "400"),
        (b"GET http://a.test/ HTTP/2\r\n\r\n", "505"),
        (b"CONNECT a.test HTTP/1.1\r\n\r\n", "400"),
        (b"GET ftp://a.test/ HTTP/1.1\r\n\r\n", "400"),
        (b"GET http://a.test/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411"),
        (b"GET http://a.test/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        (b"GET http://a.test/ HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", "400"),
        (b"GET http://a.test/ HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
        (b"GET http://a.test/ HTTP/1.1\r\nA: b\nHost: c\r\n\r\n", "400"),
        (b"GET http://a.test/ HTTP/1.1\r\n folded\r\n\r\n", "400"),
        (b"GET http://\xff.test/ HTTP/1.1\r\n\r\n", "400"),
    ],
)
def test_malformed_requests_are_refused(head: bytes, status: str) -> None:
    with pytest.raises(Refused) as refused:
        parse_head(head)
    assert refused.value.status.startswith(status)
