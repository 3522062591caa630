"""One GET with its redirects: every address checked, every size and time bounded, nothing sent but a plain question."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Set
from dataclasses import dataclass

import httpcore
import httpx

from services_node.mcp_server.errors import ToolFailed
from services_node.mcp_server.tools.fetching.addresses import checked, checked_url
from wire.addresses import AddressRefused, CheckedBackend, HostNotFound, Refusal, refused

USER_AGENT = "Capibara6/0.1 (fetch_url: reads one page for a person who asked)"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
ACCEPTED = "text/html, application/xhtml+xml, text/markdown, text/plain, application/json;q=0.9, */*;q=0.1"
WINDOW = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """most_bytes: of a page, unpacked; what comes beyond is cut off. seconds: for everything together."""

    most_bytes: int
    seconds: float
    redirects: int
    ports: Set[int]


@dataclass(frozen=True, slots=True)
class Fetched:
    """url: where the page was at last. media_type: without parameters, in small letters. cut: more would have come."""

    url: str
    host: str
    media_type: str
    charset: str | None
    data: bytes
    cut: bool


class Fetcher:
    """refusal: the address policy; tests bring one that lets their own server pass."""

    def __init__(self, limits: FetchLimits, *, refusal: Refusal = refused, tls: ssl.SSLContext | None = None) -> None:
        self._limits = limits
        self._refusal = refusal
        self._tls = tls

    async def fetch(self, asked: str) -> Fetched:
        """The page at a URL. Raises ToolFailed: what was refused, not reached, or not to be read."""
        url = checked_url(asked, self._limits.ports)
        if self._tls is None:
            self._tls = httpx.create_ssl_context(trust_env=False)
        try:
            async with (
                asyncio.timeout(self._limits.seconds),
                # one pool a call: no connection, and nothing a server said, outlives it
                httpcore.AsyncConnectionPool(self._tls, network_backend=CheckedBackend(self._refusal)) as pool,
            ):
                return await self._follow(pool, url)
        except TimeoutError:
            raise ToolFailed(f"`{url.host}` did not answer within {self._limits.seconds:g} seconds.") from None
        except AddressRefused as error:
            words = f"`{error.host}` is at an address that is not fetched ({error.why}): only public pages are."
            raise ToolFailed(words) from None
        except HostNotFound as error:
            raise ToolFailed(f"`{error.host}` is not found: no such host.") from None
        except (httpcore.NetworkError, httpcore.TimeoutException, ssl.SSLError) as error:
            raise ToolFailed(f"`{url.host}` cannot be reached ({_words(error)}).") from None
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
            raise ToolFailed(f"`{url.host}` does not speak HTTP as it should ({_words(error)}).") from None

    async def _follow(self, pool: httpcore.AsyncConnectionPool, url: httpx.URL) -> Fetched:
        for _ in range(self._limits.redirects + 1):
            async with pool.stream("GET", _asked(url), headers=_headers(url)) as reply:
                said = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reply.headers}
                if reply.status not in REDIRECTS or "location" not in said:
                    return await self._read(reply, url, said)
            url = self._next(url, said["location"])
        raise ToolFailed(f"The page redirects more than {self._limits.redirects} times.")

    def _next(self, url: httpx.URL, location: str) -> httpx.URL:
        try:
            following = url.join(location)
        except (httpx.InvalidURL, ValueError):
            raise ToolFailed(f"`{url.host}` redirects to something that is not a URL.") from None
        return checked(following, self._limits.ports)

    async def _read(self, reply: httpcore.Response, url: httpx.URL, said: dict[str, str]) -> Fetched:
        if not 200 <= reply.status < 300:
            raise ToolFailed(f"`{url.host}` answered {reply.status} for this page{_hint(reply.status)}.")
        media_type, _, parameters = said.get("content-type", "").partition(";")
        data, cut = await self._body(reply, said.get("content-encoding", "").strip().lower())
        return Fetched(str(url), url.host, media_type.strip().lower(), _charset(parameters), data, cut)

    async def _body(self, reply: httpcore.Response, encoding: str) -> tuple[bytes, bool]:
        """The first `most_bytes` of the page: unpacked piece by piece, never more than that at once."""
        most, read = self._limits.most_bytes, bytearray()
        if encoding in ("", "identity"):
            async for piece in reply.aiter_stream():
                read += piece
                if len(read) > most:
                    return bytes(read[:most]), True
            return bytes(read), False
        if encoding not in WINDOW:
            raise ToolFailed(f"The page is packed in a way that is not read here (`{encoding[:40]}`).")
        unpacking = zlib.decompressobj(WINDOW[encoding])
        try:
            async for piece in reply.aiter_stream():
                read += unpacking.decompress(piece, most + 1 - len(read))
                if len(read) > most:
                    return bytes(read[:most]), True
        except zlib.error:
            raise ToolFailed("The page is packed wrongly and cannot be read.") from None
        return bytes(read), False


def _asked(url: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)


def _headers(url: httpx.URL) -> list[tuple[bytes, bytes]]:
    return [
        (b"host", url.netloc),
        (b"user-agent", USER_AGENT.encode()),
        (b"accept", ACCEPTED.encode()),
        (b"accept-encoding", b"gzip"),
        (b"accept-language", b"es, en;q=0.9, *;q=0.5"),
        (b"connection", b"close"),
    ]


def _charset(parameters: str) -> str | None:
    for part in parameters.split(";"):
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'") or None
    return None


def _hint(status: int) -> str:
    return {401: ": it wants a login", 403: ": it refuses", 404: ": there is no such page", 429: ": try later"}.get(
        status, ""
    )


def _words(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
