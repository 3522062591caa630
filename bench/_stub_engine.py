"""An engine that costs nothing: it streams the same tokens at a fixed speed, whatever it is asked.

    python -m bench._stub_engine SOCKET PORT

Asked for one token (`max_tokens`), it gives it and ends at once: what is then measured is how often, not how soon.

It speaks as much HTTP as the benchmark's callers need (POST with a Content-Length, kept connections), on a unix socket
and on a port of loopback, in one process without a web framework: what is measured is who stands before it.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import cast

import uvloop

TOKENS = 32
ONE_TOKEN = re.compile(rb'"max_tokens":\s*1\b')
EVERY_SECONDS = 0.010
WORD = "word "
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
SHORT = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


def event(data: str) -> bytes:
    """One event as one chunk of a chunked body."""
    body = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(body), body)


def chunk(delta: dict[str, str], finish: str | None) -> str:
    """As vLLM writes them, at about their length."""
    return json.dumps(
        {
            "id": "chatcmpl-0190163d8694739baea5966c26f8ad90",
            "object": "chat.completion.chunk",
            "created": 1763000000,
            "model": "stub",
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None}],
        },
        separators=(",", ":"),
    )


FIRST = event(chunk({"role": "assistant", "content": ""}, None))
TOKEN = event(chunk({"content": WORD}, None))
LAST = event(chunk({"content": ""}, "stop")) + event("[DONE]") + b"0\r\n\r\n"


class Caller(asyncio.Protocol):
    """One connection: requests one after the other, each answered by a stream."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not one by name

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if len(body) < length:
            return
        self._received = body[length:]
        assert self._transport
        if head.startswith(b"GET"):
            self._transport.write(SHORT)
            return
        if ONE_TOKEN.search(body):
            self._transport.write(HEAD + FIRST + TOKEN + LAST)
            return
        self._transport.write(HEAD + FIRST)
        self._say(0, asyncio.get_running_loop().time())

    def _say(self, said: int, started: float) -> None:
        """Tokens at times counted from the first, so that being late once does not make the rest late."""
        assert self._transport
        if self._transport.is_closing():
            return
        if said == TOKENS:
            self._transport.write(LAST)
            return
        self._transport.write(TOKEN)
        due = started + (said + 1) * EVERY_SECONDS
        self._timer = asyncio.get_running_loop().call_at(due, self._say, said + 1, started)


async def main(path: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    unix = await loop.create_unix_server(Caller, path, backlog=1024)
    tcp = await loop.create_server(Caller, "127.0.0.1", port, backlog=1024)
    await asyncio.gather(unix.serve_forever(), tcp.serve_forever())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], int(sys.argv[2])))
