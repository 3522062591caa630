"""The proxy benchmark: first tokens over all runs, tokens a second of the median run, both beside the stub's own."""

from __future__ import annotations

from typing import Any

from bench._stream_client import COMPLETION, Asker, Tally
from bench._stub_engine import FIRST, HEAD, LAST, TOKEN, TOKENS
from bench.proxy import summarise


def run(first_tokens: list[float], tokens: int) -> dict[str, Any]:
    return {"first_token_seconds": first_tokens, "tokens": tokens, "seconds": 2.0, "answers": 1, "failure": ""}


def test_what_is_added_and_what_is_left_is_told_beside_the_stub() -> None:
    told = summarise(
        {
            "direct": [run([0.001, 0.002], 200), run([0.003], 220), run([], 180)],
            "model_server": [run([0.004], 160), run([0.004], 100), run([0.005], 190)],
        }
    )
    assert (told["direct"]["first_token_p50_ms"], told["direct"]["tokens_per_second"]) == (2, 100)
    assert (told["model_server"]["added_first_token_p50_ms"], told["model_server"]["tokens_ratio"]) == (2, 0.8)


class Wire:
    """A transport that counts what is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def write(self, _: bytes) -> None:
        self.asked += 1


def test_tokens_are_counted_however_the_stream_is_cut() -> None:
    stream = HEAD + FIRST + TOKEN * TOKENS + LAST
    for size in (13, 20, 100, len(stream)):
        tally, wire = Tally(), Wire()
        asker = Asker(tally)
        asker.connection_made(wire)  # type: ignore[arg-type]
        for start in range(0, len(stream), size):
            asker.data_received(stream[start : start + size])
        assert (tally.tokens, tally.answers, len(tally.first_tokens), tally.failure) == (TOKENS, 1, 1, "")
        assert wire.asked == 2  # it asks again


def test_a_refusal_and_a_short_answer_are_failures() -> None:
    for stream in (b"HTTP/1.1 429 Too Many Requests\r\n\r\n", HEAD + FIRST + TOKEN + LAST):
        tally = Tally()
        asker = Asker(tally)
        asker.connection_made(Wire())  # type: ignore[arg-type]
        asker.data_received(stream)
        assert tally.failure
    assert COMPLETION.mark in TOKEN
