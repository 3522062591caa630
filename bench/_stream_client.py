"""Many streams at once against one address, one JSON line of what they took.

    python -m bench._stream_client PORT STREAMS SECONDS

A process of its own and no HTTP library, so that the client is not what is measured. Each stream is one kept
connection that asks again as soon as its answer ends; a run goes on until each had a first token. What counts is
tokens and the time to each answer's first one; an answer of any other number of tokens than the stub gives is an error.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import cast

import uvloop

from bench._stub_engine import TOKENS, WORD

MARK = f'"{WORD}"'.encode()
LONGEST_SECONDS = 60.0
END = b"data: [DONE]"
BODY = json.dumps(
    {
        "model": "stub",
        "messages": [{"role": "user", "content": "What is the capital of France? Answer in one word, please."}],
        "max_tokens": TOKENS,
        "stream": True,
    }
).encode()
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    b"authorization: Bearer none\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


class Tally:
    """Counts of the whole run; times in seconds."""

    def __init__(self) -> None:
        self.first_tokens: list[float] = []
        self.tokens = 0
        self.answers = 0
        self.failure = ""


class Asker(asyncio.Protocol):
    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._asked = 0.0
        self._tokens = 0
        self._answering = self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not one by name
        self._ask()

    def _ask(self) -> None:
        assert self._transport
        self._rest, self._tokens, self._answering, self._ended = b"", 0, False, False
        self._asked = time.perf_counter()
        self._transport.write(REQUEST)

    def data_received(self, data: bytes) -> None:
        if not self._answering:
            self._answering = True
            if not data.startswith(b"HTTP/1.1 200 "):
                self._tally.failure = f"refused: {data!r}"
        text = self._rest + data
        found = text.count(MARK)
        if found:
            if not self._tokens:
                self._tally.first_tokens.append(time.perf_counter() - self._asked)
            self._tokens += found
            self._tally.tokens += found
        self._ended = self._ended or END in text
        if self._ended and text.endswith(b"0\r\n\r\n"):
            if self._tokens != TOKENS:
                self._tally.failure = f"an answer of {self._tokens} tokens: {text[-300:]!r}"
            self._tally.answers += 1
            self._ask()
            return
        # What may be the beginning of a mark, and cannot hold a whole one.
        self._rest = text[-(len(END) - 1) :] if not found else text[text.rindex(MARK) + len(MARK) :][-(len(END) - 1) :]

    def connection_lost(self, exc: Exception | None) -> None:
        self._tally.failure = self._tally.failure or f"a connection was lost: {exc!r} {self._rest!r}"


async def run(port: int, streams: int, seconds: float) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    tally = Tally()
    began = time.perf_counter()
    for _ in range(streams):
        await loop.create_connection(lambda: Asker(tally), "127.0.0.1", port)
    while (took := time.perf_counter() - began) < seconds or (  # noqa: ASYNC110
        took < LONGEST_SECONDS and len(tally.first_tokens) < streams and not tally.failure
    ):
        await asyncio.sleep(0.1)
    return {
        "tokens": tally.tokens,
        "answers": tally.answers,
        "seconds": time.perf_counter() - began,
        "first_token_seconds": tally.first_tokens,
        "failure": tally.failure,
    }


if __name__ == "__main__":
    port, streams, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(run(port, streams, seconds))))
