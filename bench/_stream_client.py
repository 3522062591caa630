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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import uvloop

from bench._stub_engine import TOKENS, WORD

LONGEST_SECONDS = 60.0
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked again and again. mark: stands in the stream once for each token. end: in its last event.

    tokens: of every right answer.
    """

    request: bytes
    mark: bytes
    end: bytes
    tokens: int


def http_request(path: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    return (
        b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        b"authorization: Bearer none\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(content), content)
    )


COMPLETION = Question(
    request=http_request(
        "/v1/chat/completions",
        {
            "model": "stub",
            "messages": [{"role": "user", "content": "What is the capital of France? Answer in one word, please."}],
            "max_tokens": TOKENS,
            "stream": True,
        },
    ),
    mark=f'"{WORD}"'.encode(),
    end=b"data: [DONE]",
    tokens=TOKENS,
)


class Tally:
    """Counts of the whole run; times in seconds."""

    def __init__(self) -> None:
        self.first_tokens: list[float] = []
        self.tokens = 0
        self.answers = 0
        self.failure = ""


class Asker(asyncio.Protocol):
    """One kept connection. answered: is told of each answer's end; without it, the next question goes out at once."""

    def __init__(
        self, tally: Tally, question: Question = COMPLETION, answered: Callable[[Asker], None] | None = None
    ) -> None:
        self._tally = tally
        self.question = question
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._asked = 0.0
        self._tokens = 0
        self._waiting = self._answering = self._ended = False
        self.head = b""  # of the newest answer, as far as its first piece held it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not one by name
        if self._answered is None:
            self.ask()

    def ask(self) -> None:
        assert self._transport
        self._rest, self._tokens, self._answering, self._ended = b"", 0, False, False
        self._waiting = True
        self._asked = time.perf_counter()
        self._transport.write(self.question.request)

    def data_received(self, data: bytes) -> None:
        if not self._answering:
            self._answering = True
            self.head = data.partition(b"\r\n\r\n")[0]
            if not data.startswith(b"HTTP/1.1 200 "):
                self._tally.failure = f"refused: {data!r}"
        asked, mark = self.question, self.question.mark
        text = self._rest + data
        found = text.count(mark)
        if found:
            if not self._tokens:
                self._tally.first_tokens.append(time.perf_counter() - self._asked)
            self._tokens += found
            self._tally.tokens += found
        self._ended = self._ended or asked.end in text
        if text.endswith(LAST_CHUNK):
            if not self._ended or self._tokens != asked.tokens:
                self._tally.failure = f"an answer of {self._tokens} tokens: {text[-300:]!r}"
            self._tally.answers += 1
            self._waiting = False
            self._tell()
            return
        # What may be the beginning of a mark or of the end, and cannot hold a whole mark.
        kept = max(len(mark), len(asked.end)) - 1
        self._rest = (text[text.rindex(mark) + len(mark) :] if found else text)[-kept:]

    def _tell(self) -> None:
        if self._answered is None:
            self.ask()
        else:
            self._answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting:  # one that has nothing to ask any more may be closed by its server
            self._tally.failure = self._tally.failure or f"a connection was lost: {exc!r} {self._rest!r}"

    def close(self) -> None:
        if self._transport:
            self._transport.abort()


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
