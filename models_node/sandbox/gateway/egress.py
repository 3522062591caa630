"""The one way out of a sandbox: an HTTP proxy that the sandbox reaches at its own 127.0.0.1:3128.

It takes CONNECT, and plain HTTP in absolute form; asks the rules for the host, resolves it itself, asks them for the
address, and connects to the very address that was asked about. Everything is bounded, and nothing is told of this
machine. What goes through a CONNECT tunnel is not looked into.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from models_node.sandbox.gateway import metrics
from models_node.sandbox.gateway.egress_rules import Address, EgressRules, parse_address, split_authority

log = logging.getLogger("models_node.sandbox.egress")

CONNECTIONS = 32  # of one sandbox
HEAD_BYTES = 16 * 2**10
HEAD_SECONDS = 10.0
RESOLVE_SECONDS = 5.0
CONNECT_SECONDS = 10.0
QUIET_SECONDS = 120.0  # a connection on which nothing moves is ended
CONNECTION_SECONDS = 3600.0
CONNECTION_BYTES = 2**30  # each way
PIECE_BYTES = 64 * 2**10
RESOLVES_AT_ONCE = 8
RESOLVES_OF_ONE_SANDBOX = 2
ACCEPT_PAUSE_SECONDS = 1.0  # after a connection that could not be accepted: descriptors may be short
DROPPED_HEADERS = frozenset(
    {"connection", "proxy-connection", "keep-alive", "proxy-authorization", "te", "trailer", "upgrade", "host"}
)

Resolve = Callable[[str, int], Awaitable[list[Address]]]

_resolving = asyncio.Semaphore(RESOLVES_AT_ONCE)
_lookups: set[asyncio.Task[list[Address]]] = set()  # under way, whether or not anybody waits for them still


class Refused(Exception):
    """Told to user code as it is: a status and a text."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Target:
    """head: what is sent to it first. body_bytes: of the request, after it; None: a tunnel."""

    host: str
    port: int
    head: bytes
    body_bytes: int | None


async def resolve(host: str, port: int) -> list[Address]:
    """Not to be cancelled: its thread goes on, and would no longer be counted."""
    async with _resolving:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]


class EgressProxy:
    """Serves one sandbox's listener until it is stopped."""

    def __init__(
        self, sandbox_id: str, listener: socket.socket, rules: EgressRules, resolve: Resolve = resolve
    ) -> None:
        self._id = sandbox_id
        self._listener = listener
        self._rules = rules
        self._resolve = resolve
        self._places = asyncio.Semaphore(RESOLVES_OF_ONE_SANDBOX)
        self._accepting: asyncio.Task[None] | None = None
        self._open: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(), name=f"egress {self._id}")

    async def stop(self) -> None:
        tasks = [*self._open, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listener.close()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listener)
            except OSError as error:
                log.warning("a way out waits", extra={"sandbox": self._id, "error": str(error)})
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            if len(self._open) >= CONNECTIONS:
                connection.close()
                continue
            task = asyncio.create_task(self._serve(connection))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=HEAD_BYTES)
        try:
            async with asyncio.timeout(CONNECTION_SECONDS):
                try:
                    target = await self._target(reader)
                    remote_reader, remote_writer = await self._connect(target)
                except Refused as refused:
                    metrics.EGRESS.labels("refused").inc()
                    log.info("egress refused", extra={"sandbox": self._id, "reason": str(refused)})
                    await _tell(writer, refused)
                    return
                metrics.EGRESS.labels("connected").inc()
                try:
                    await _pass(target, reader, writer, remote_reader, remote_writer)
                finally:
                    remote_writer.close()
        except (OSError, asyncio.IncompleteReadError):  # also a TimeoutError
            pass
        finally:
            writer.close()

    async def _target(self, reader: asyncio.StreamReader) -> Target:
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, asyncio.LimitOverrunError):
            raise Refused("400 Bad Request", "the request's head is too long, or came too slowly") from None
        target = parse_head(head)
        if not self._rules.allows(target.host, target.port):
            raise Refused("403 Forbidden", f"sandboxes may not connect to {target.host}:{target.port}")
        return target

    async def _connect(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        literal = parse_address(target.host)
        found = [literal] if literal is not None else await self._resolved(target)
        allowed = [address for address in found if self._rules.reachable(address, target.port)]
        if not allowed:
            raise Refused("403 Forbidden", f"sandboxes may not connect to the address of {target.host}")
        for address in allowed:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await asyncio.open_connection(str(address), target.port, limit=PIECE_BYTES)
            except OSError:  # also a TimeoutError
                continue
        raise Refused("502 Bad Gateway", f"{target.host}:{target.port} cannot be reached")

    async def _resolved(self, target: Target) -> list[Address]:
        try:
            async with asyncio.timeout(RESOLVE_SECONDS):
                await self._places.acquire()
                found = await asyncio.shield(self._lookup(target))
        except TimeoutError:
            found = []
        if not found:
            raise Refused("502 Bad Gateway", f"{target.host} is not known")
        return found

    def _lookup(self, target: Target) -> asyncio.Task[list[Address]]:
        """Goes on when nobody waits any more, since a lookup cannot be stopped, and keeps its place to its real end:
        else one sandbox with slow names would have everybody's.
        """
        lookup = asyncio.create_task(self._look_up(target))
        _lookups.add(lookup)
        lookup.add_done_callback(_lookups.discard)
        return lookup

    async def _look_up(self, target: Target) -> list[Address]:
        try:
            return await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            return []
        finally:
            self._places.release()


def parse_head(head: bytes) -> Target:
    """What a request asks for. Raises Refused."""
    try:
        first, *lines = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
        method, uri, version = first.split(" ")
    except ValueError:
        raise Refused("400 Bad Request", "this is no HTTP request") from None
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise Refused("505 HTTP Version Not Supported", "this proxy speaks HTTP/1.1")
    if method == "CONNECT":
        split = split_authority(uri, None)
        if split is None:
            raise Refused("400 Bad Request", "CONNECT asks for host:port")
        return Target(*split, b"", None)
    if not uri.lower().startswith("http://"):
        raise Refused("400 Bad Request", "this is a proxy: ask for http://host/…, or CONNECT")
    return _plain(method, uri, lines)


def _plain(method: str, uri: str, lines: list[str]) -> Target:
    parts = urlsplit(uri)
    split = split_authority(parts.netloc, 80)
    if split is None:
        raise Refused("400 Bad Request", "the address names no host")
    kept: list[str] = []
    length: int | None = None
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip() or "\n" in line or "\r" in line:
            raise Refused("400 Bad Request", "a header is malformed")
        if name.lower() == "transfer-encoding":
            raise Refused("411 Length Required", "a body needs a Content-Length here")
        if name.lower() == "content-length":
            if length is not None or not value.strip().isdecimal() or len(value) > 15:
                raise Refused("400 Bad Request", "Content-Length is wrong")
            length = int(value)
        if name.lower() not in DROPPED_HEADERS:
            kept.append(line)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    sent = [f"{method} {path} HTTP/1.1", f"host: {parts.netloc}", "connection: close", *kept]
    return Target(*split, ("\r\n".join(sent) + "\r\n\r\n").encode("ascii"), length or 0)


async def _tell(writer: asyncio.StreamWriter, refused: Refused) -> None:
    body = f"{refused}\n".encode("ascii", "replace")
    head = f"HTTP/1.1 {refused.status}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n"
    writer.write(head.encode("ascii") + b"connection: close\r\n\r\n" + body)
    async with asyncio.timeout(HEAD_SECONDS):
        await writer.drain()


async def _pass(
    target: Target,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    remote_reader: asyncio.StreamReader,
    remote_writer: asyncio.StreamWriter,
) -> None:
    """Both directions, until both have ended, or one broke."""
    tunnel = target.body_bytes is None
    if tunnel:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    else:
        remote_writer.write(target.head)
    out_bytes = CONNECTION_BYTES if target.body_bytes is None else target.body_bytes
    out = asyncio.create_task(_pump(reader, remote_writer, out_bytes, close=tunnel))
    back = asyncio.create_task(_pump(remote_reader, writer, CONNECTION_BYTES, close=True))
    try:
        if tunnel:
            await asyncio.gather(out, back)
        else:
            await back  # with its answer's end the request is over, whatever of it was not sent
    finally:
        for task in (out, back):
            task.cancel()
        await asyncio.gather(out, back, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most_bytes: int, *, close: bool) -> None:
    left = most_bytes
    while left > 0:
        async with asyncio.timeout(QUIET_SECONDS):
            piece = await reader.read(min(PIECE_BYTES, left))
            if not piece:
                break
            left -= len(piece)
            writer.write(piece)
            await writer.drain()
    if close and writer.can_write_eof():
        writer.write_eof()
