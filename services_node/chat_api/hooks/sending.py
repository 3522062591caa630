"""One signed POST to an address that somebody else chose: looked up anew, no redirects, little read, little time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping

import httpcore
import httpx

from services_node.chat_api.hooks.deciding import Answer
from wire.addresses import AddressRefused, CheckedBackend, HostNotFound, Refusal

USER_AGENT = "Capibara6/0.1 (webhooks)"
READ_BYTES = 2048  # of an answer that is an error
TOLD_CHARS = 200


class Sender:
    """refusal: which addresses may be asked, as it is now. seconds: for everything."""

    def __init__(self, refusal: Callable[[], Awaitable[Refusal]], seconds: float) -> None:
        self._refusal = refusal
        self._seconds = seconds
        self._tls: ssl.SSLContext | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What was answered. Raises nothing: what goes wrong is an answer without a status."""
        if self._tls is None:
            self._tls = await asyncio.to_thread(httpx.create_ssl_context, trust_env=False)
        try:
            async with (
                asyncio.timeout(self._seconds),
                httpcore.AsyncConnectionPool(self._tls, network_backend=CheckedBackend(await self._refusal())) as pool,
            ):
                return await _posted(pool, httpx.URL(url), headers, body)
        except TimeoutError:
            return Answer(None, f"did not answer within {self._seconds:g} s")
        except AddressRefused as error:
            return Answer(None, f"is at an address that is not told of runs ({error.why})")
        except HostNotFound:
            return Answer(None, "is not found: no such host")
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            return Answer(None, f"cannot be reached ({_words(error)})")
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, ssl.SSLError) as error:
            return Answer(None, f"broke the connection ({_words(error)})")
        except (httpx.InvalidURL, httpcore.UnsupportedProtocol, ValueError, OSError) as error:
            return Answer(None, f"cannot be asked ({_words(error)})")


async def _posted(
    pool: httpcore.AsyncConnectionPool, url: httpx.URL, headers: Mapping[str, str], body: bytes
) -> Answer:
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    sent = [
        (b"host", url.netloc),
        (b"user-agent", USER_AGENT.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *((name.encode(), value.encode()) for name, value in headers.items()),
    ]
    async with pool.stream("POST", target, headers=sent, content=body) as reply:
        if 200 <= reply.status < 300:
            return Answer(reply.status, "")
        said = {name.lower(): value.decode("latin-1") for name, value in reply.headers}
        return Answer(reply.status, told(reply.status, said.get(b"content-type", ""), await _beginning(reply)))


async def _beginning(reply: httpcore.Response) -> bytes:
    read = bytearray()
    async for piece in reply.aiter_stream():
        read += piece
        if len(read) >= READ_BYTES:
            break
    return bytes(read[:READ_BYTES])


def told(status: int, content_type: str, body: bytes) -> str:
    """An answer that is an error, in one line."""
    if 300 <= status < 400:
        return f"answered {status}: redirects are not followed"
    if content_type.partition(";")[0].strip().lower() == "text/html":
        return f"answered {status} with a page of HTML"
    text = " ".join(body.decode(errors="replace").split())
    plain = "".join(letter for letter in text if letter.isprintable())[:TOLD_CHARS]
    return f"answered {status}: {plain}" if plain else f"answered {status}"


def _words(error: Exception) -> str:
    return str(error)[:TOLD_CHARS] or type(error).__name__
