"""The benchmarks' arithmetic, and the order they ask in."""

from __future__ import annotations

import httpx
import pytest

from bench._streams import chat_first_token, milliseconds, openai_first_token, question
from bench.first_token import WARM_UP, measure, summarise

OPENAI = (
    'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    'data: {"choices":[{"delta":{"content":"blue"}}]}\n\ndata: [DONE]\n\n'
)
CHAT = 'data: {"type":"start","content":"","done":false}\n\ndata: {"type":"token","content":"blue","done":false}\n\n'


def answering(text: str, status: int = 200) -> httpx.Client:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, text=text))
    return httpx.Client(base_url="http://x", transport=transport)


def test_each_is_asked_as_often_as_the_others_in_a_rotating_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.first_token.SETTLE_SECONDS", 0)
    asked: list[str] = []

    def ask(name: str) -> float:
        asked.append(name)
        return float(len(asked))

    taken = measure({name: lambda name=name: ask(name) for name in "abc"}, 6)  # type: ignore[misc]
    assert {name: len(seconds) for name, seconds in taken.items()} == {"a": 6, "b": 6, "c": 6}
    after_warm_up = asked[3 * WARM_UP :]
    assert after_warm_up[:9] == list("abcbcacab")


def test_medians_and_the_differences_of_neighbours() -> None:
    told = summarise({"engine": [0.1, 0.2, 0.3], "model_server": [0.202] * 3, "chat_stream": [0.21] * 3})
    assert told["engine"]["median_ms"] == 200
    assert told["model_server_minus_engine_ms"] == 2
    assert told["chat_stream_minus_model_server_ms"] == 8


def test_the_ninetieth_percentile() -> None:
    assert milliseconds([number / 1000 for number in range(1, 100)]) == {"median_ms": 50.0, "p90_ms": 90.0}
    assert milliseconds([0.5]) == {"median_ms": 500.0, "p90_ms": 500.0}


def test_questions_are_as_long_as_one_another_and_never_the_same() -> None:
    asked = {question() for _ in range(50)}
    assert len(asked) == 50
    assert len({len(text) for text in asked}) == 1


def test_first_tokens_are_found_in_both_kinds_of_stream() -> None:
    assert openai_first_token(answering(OPENAI), {}) > 0
    assert chat_first_token(answering(CHAT), {}) > 0


@pytest.mark.parametrize(
    ("text", "status"), [("no", 503), ("data: [DONE]\n\n", 200), ('data: {"error":{"message":"x"}}\n\n', 200)]
)
def test_an_answer_without_a_token_is_no_figure(text: str, status: int) -> None:
    with pytest.raises(RuntimeError):
        openai_first_token(answering(text, status), {})
