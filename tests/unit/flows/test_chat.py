"""The turn itself, with a model that does what the test says."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flows.chat import converse
from flows.model_call import worth_retrying
from flows.steps import PlainSteps
from flows.turn import (
    ChatMessage,
    Started,
    Token,
)
from tests.unit.flows.turn_fakes import TOO_LONG, USAGE, Model, asked, history, token, turn_with
from wire.errors import ApiError, DeadlineExceeded, InvalidRequest, TooManyRequests, Unavailable, UpstreamFailed


async def test_a_turn_passes_on_tokens_and_notes_what_is_known() -> None:
    model = Model([token("a"), token(""), token("b"), {"choices": [{"delta": {}, "finish_reason": "length"}]}, USAGE])
    turn, sink, firsts = turn_with(model)
    result = await converse(turn, PlainSteps())
    said = turn.transcript
    assert result.status == "completed" and said.text == "ab" and said.finish_reason == "length"
    assert sink.events == [Started("m", "auto"), Token("a"), Token("b")] and firsts == [1]
    assert (said.prompt_tokens, said.completion_tokens, said.queue_ms) == (3, 2, 1.0)
    assert said.first_token_ms is not None and [step.status for step in said.steps] == ["completed"]
    assert model.calls[0]["model"] == "m" and model.calls[0]["temperature"] == 0


async def test_what_was_said_before_a_failure_is_kept_and_nothing_is_tried_again() -> None:
    model = Model([token("a"), UpstreamFailed("died", code="engine_died")])
    turn, _, _ = turn_with(model)
    result = await converse(turn, PlainSteps())
    assert result.status == "failed" and result.error is not None and result.error.code == "engine_died"
    assert turn.transcript.text == "a" and len(model.calls) == 1
    assert [(step.status, step.error_code) for step in turn.transcript.steps] == [("failed", "engine_died")]


@pytest.mark.parametrize("breaks", [[UpstreamFailed("died")], [{"choices": []}, UpstreamFailed("died")]])
async def test_a_call_that_said_nothing_is_made_once_more_as_a_step(breaks: list[Any]) -> None:
    names: list[str] = []

    class Named(PlainSteps):
        async def run(self, name: str, effect: Any, **limits: Any) -> Any:
            names.append(name)
            return await super().run(name, effect, **limits)

    turn, _, _ = turn_with(Model(breaks, [token("a")]))
    assert (await converse(turn, Named())).status == "completed"
    assert names == ["model_call_retry"] and turn.transcript.text == "a"


async def test_it_is_not_made_a_third_time() -> None:
    model = Model([UpstreamFailed("died")], [UpstreamFailed("died again")])
    turn, _, _ = turn_with(model)
    result = await converse(turn, PlainSteps())
    assert result.error is not None and result.error.detail == "died again" and len(model.calls) == 2


@pytest.mark.parametrize(
    "error", [TooManyRequests("full"), Unavailable("no memory", code="out_of_memory"), DeadlineExceeded("late")]
)
def test_what_would_fail_again_is_not_worth_retrying(error: ApiError) -> None:
    assert not worth_retrying(error)


async def test_cancelling_closes_the_model_stream_and_leaves_the_transcript() -> None:
    model = Model([token("a"), None])
    turn, sink, _ = turn_with(model)
    task = asyncio.create_task(converse(turn, PlainSteps()))
    async with asyncio.timeout(5):
        while len(sink.events) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert model.open == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert model.open == 0 and turn.transcript.text == "a"
    assert [step.status for step in turn.transcript.steps] == ["cancelled"]


async def test_a_step_that_takes_too_long_says_so() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlineExceeded) as error:
        await PlainSteps().run("tool", forever, timeout_seconds=0.01)
    assert error.value.code == "step_timeout"


async def test_a_history_too_long_for_the_model_is_halved_until_it_fits() -> None:
    model = Model([TOO_LONG], [TOO_LONG], [token("a")])
    turn, _, _ = turn_with(model, ChatMessage("system", "be brief"), *history(4))
    assert (await converse(turn, PlainSteps())).status == "completed" and turn.transcript.text == "a"
    assert asked(model)[1:] == [["be brief", "q2", "a2", "q3"], ["be brief", "q3"]]
    assert [(step.name, step.status) for step in turn.transcript.steps] == [
        ("model_call", "failed"),
        ("model_call_shorter_history", "failed"),
        ("model_call_shorter_history", "completed"),
    ]


async def test_a_message_that_is_too_long_by_itself_is_the_callers_error_in_the_models_words() -> None:
    model = Model(*([TOO_LONG] for _ in range(9)))
    turn, _, _ = turn_with(model, *history(4))
    error = (await converse(turn, PlainSteps())).error
    assert error is not None and (error.status, error.code, error.param) == (422, "message_too_long", "message")
    assert TOO_LONG.detail in error.detail
    assert asked(model)[-1] == ["q3"] and len(model.calls) == 3


async def test_a_shorter_call_whose_engine_died_is_still_made_once_more() -> None:
    model = Model([TOO_LONG], [UpstreamFailed("died")], [token("a")])
    turn, _, _ = turn_with(model, *history(2))
    assert (await converse(turn, PlainSteps())).status == "completed"
    assert asked(model) == [["q0", "a0", "q1"], ["q1"], ["q1"]]


async def test_another_bad_request_is_not_tried_with_less() -> None:
    model = Model([InvalidRequest("max_tokens=9000 cannot be greater than max_model_len=4096.")])
    turn, _, _ = turn_with(model, *history(2))
    error = (await converse(turn, PlainSteps())).error
    assert error is not None and error.status == 400 and len(model.calls) == 1
