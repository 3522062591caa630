"""The chat benchmark: what is added, what a round trip takes without its end, what Prefect lags behind; the client."""

from __future__ import annotations

import json

import pytest

from bench._chat_client import conversation_of, question_of
from bench._chat_figures import added, lag, met, parts_of_first_token, without
from bench._stream_client import LAST_CHUNK, Asker, Tally


def test_what_is_added_is_told_beside_the_base_and_by_round() -> None:
    told = added({"direct": [[0.001, 0.002], [0.003]], "chat": [[0.010, 0.012], [0.015]]}, "direct")
    assert (told["direct"]["median_ms"], told["chat"]["median_ms"], told["chat"]["n"]) == (2, 12, 3)
    assert told["chat"]["added_median_ms"] == 10
    assert told["chat"]["rounds_added_median_ms"] == [9.5, 12]
    assert "added_median_ms" not in told["direct"]


def test_a_round_trip_is_told_without_the_median_of_its_end() -> None:
    told = without([0.005, 0.006, 0.007], [0.001, 0.002, 0.050])
    assert (told["median_ms"], told["n"]) == (4, 3)
    assert met(4, 10)["met"] and not met(10.1, 10)["met"]


def test_prefect_lags_behind_by_the_share_it_does_not_show() -> None:
    assert lag(200, 150) == 0.25
    assert lag(0, 0) == 0


def test_a_first_token_is_taken_apart_by_the_runs_own_notes() -> None:
    run: dict[str, float | None] = {"first_token_ms": 9.0, "planned_ms": 4.0, "model_ms": 3.0}
    open_one: dict[str, float | None] = {"first_token_ms": None, "planned_ms": 4.0, "model_ms": None}
    told = parts_of_first_token([run, open_one, run], [0.012, 0.012, 0.014])
    assert told == {"route_and_tools": 4, "model_call": 3, "request_and_events": 3, "rest": 2}
    assert parts_of_first_token([open_one], [0.1]) == {}


class Wire:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def write(self, request: bytes) -> None:
        self.sent.append(request)


def chat_answer(tokens: int, last: str) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nx-capibara6-conversation-id: 0190-abc\r\ntransfer-encoding: chunked\r\n\r\n"
    events = ['{"type":"token","content":"word "}'] * tokens + [last]
    bodies = [f"data: {event}\n\n".encode() for event in events]
    return head + b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies) + LAST_CHUNK


@pytest.mark.parametrize("size", [13, 16, 1000])
def test_a_chat_is_read_however_it_is_cut_and_waits_for_its_next_question(size: int) -> None:
    tally, wire, answered = Tally(), Wire(), list[Asker]()
    asker = Asker(tally, question_of("chat", 3), answered.append)
    asker.connection_made(wire)  # type: ignore[arg-type]
    assert not wire.sent
    asker.ask()
    stream = chat_answer(3, '{"type":"end"}')
    for start in range(0, len(stream), size):
        asker.data_received(stream[start : start + size])
    assert (tally.tokens, tally.answers, tally.failure, answered, len(wire.sent)) == (3, 1, "", [asker], 1)


def test_a_chat_that_ends_with_an_error_is_a_failure() -> None:
    tally = Tally()
    asker = Asker(tally, question_of("chat", 1), lambda _: None)
    asker.connection_made(Wire())  # type: ignore[arg-type]
    asker.ask()
    asker.data_received(chat_answer(1, '{"type":"error"}'))
    assert "error" in tally.failure


def test_a_conversation_goes_on_where_its_reply_said() -> None:
    found = conversation_of(chat_answer(1, "").partition(b"\r\n\r\n")[0])
    body = json.loads(question_of("conversation", 32, found).request.partition(b"\r\n\r\n")[2])
    assert found == body["conversation_id"] == "0190-abc"
    assert "conversation_id" not in json.loads(question_of("chat", 32).request.partition(b"\r\n\r\n")[2])
    assert conversation_of(b"HTTP/1.1 200 OK") is None
