"""One item of a batch, asked of a fake model server: what is waited, what is asked again, what is given up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flows.chat_asked import Asked
from flows.item_asking import AskingLimits, Patience, ask_item, request_of
from flows.item_files import Question
from wire.clients.models import ChatStream
from wire.context import RequestContext
from wire.errors import ApiError, NotFound, TooManyRequests, Unavailable, UpstreamFailed
from wire.ids import uuid7
from wire.principals import Principal
from wire.trace import TraceContext

CONTEXT = RequestContext(uuid7(), TraceContext.new(), Principal("ana"))
QUESTION = Question(3, "a", ({"role": "user", "content": "hola"},), max_tokens=5)
ASKED = Asked("t", None, (QUESTION,), "auto", 9, 0.0)
LIMITS = AskingLimits(item_seconds=5, retries=2, wait_seconds=100, answer_chars=6)


class Models:
    """Fails as `errors` say, one a call, then answers."""

    def __init__(self, *errors: ApiError, silent: bool = False) -> None:
        self.errors, self.silent = list(errors), silent
        self.headers: list[Mapping[str, str]] = []
        self.closed = 0
        self.opened = asyncio.Event()

    @asynccontextmanager
    async def stream_chat(
        self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[ChatStream]:
        self.headers.append(headers or {})
        if self.errors:
            raise self.errors.pop(0)
        self.opened.set()
        try:
            yield ChatStream("m", "why", None, None, self.chunks())
        finally:
            self.closed += 1

    async def chunks(self) -> AsyncIterator[dict[str, Any]]:
        if self.silent:
            await asyncio.sleep(60)
        for text in ("hola ", "mundo"):
            yield {"choices": [{"delta": {"content": text}}]}
        yield {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 4}}


async def asked(models: Models, limits: AskingLimits = LIMITS) -> tuple[Any, list[float]]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    return await ask_item(models, ASKED, QUESTION, limits, CONTEXT, sleep=sleep), slept  # type: ignore[arg-type]


async def test_an_answer_is_kept_with_what_it_took_and_cut_at_its_limit() -> None:
    models = Models()
    item, slept = await asked(models)
    assert (item.status, item.content, item.model, item.route) == ("completed", "hola m", "m", "why")
    assert (item.prompt_tokens, item.completion_tokens, item.attempts, slept) == (2, 4, 1, [])
    assert models.headers[0]["x-capibara6-priority"] == "batch"


async def test_a_full_server_is_waited_for_as_long_as_it_says() -> None:
    item, slept = await asked(Models(TooManyRequests("full", retry_after_seconds=7), Unavailable("away")))
    assert item.status == "completed" and item.attempts == 3
    assert 7 <= slept[0] <= 10.5 and slept[1] >= 0.5


async def test_a_server_that_stays_full_is_given_up_in_the_end() -> None:
    item, slept = await asked(Models(*[TooManyRequests("full", retry_after_seconds=30) for _ in range(9)]))
    assert item.status == "failed" and item.error_code == "too_many_requests" and sum(slept) <= 100


async def test_a_call_that_broke_is_made_again_a_few_times() -> None:
    item, _ = await asked(Models(UpstreamFailed("a"), UpstreamFailed("b")))
    assert item.status == "completed" and item.attempts == 3
    item, _ = await asked(Models(*[UpstreamFailed("c", code="broke")] * 3))
    assert (item.status, item.error_code, item.attempts, item.content) == ("failed", "broke", 3, None)


async def test_what_is_wrong_with_the_item_is_not_asked_again() -> None:
    item, slept = await asked(Models(NotFound("no such model", code="model_not_found")))
    assert (item.status, item.error_code, item.attempts, slept) == ("failed", "model_not_found", 1, [])


async def test_an_answer_that_takes_too_long_fails_and_its_call_is_closed() -> None:
    models = Models(silent=True)
    item, _ = await asked(models, AskingLimits(0.05, 2, 100, 10))
    assert item.error_code == "item_timeout" and models.closed == 1


async def test_cancelling_it_closes_the_call() -> None:
    models = Models(silent=True)
    task = asyncio.create_task(asked(models))
    await models.opened.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert models.closed == 1


def test_an_item_has_its_own_wishes_and_the_batchs_where_it_has_none() -> None:
    assert request_of(ASKED, QUESTION) == {
        "model": "auto", "messages": [{"role": "user", "content": "hola"}], "max_tokens": 5, "temperature": 0.0,
    }  # fmt: skip


def test_waits_grow_and_are_spread() -> None:
    patience = Patience(AskingLimits(1, 1, 1e9, 1), chance=lambda: 0.0)
    waits = [patience.wait_after(Unavailable("away")) for _ in range(9)]
    assert waits[:3] == [1.0, 2.0, 4.0] and waits[-1] == 60.0
    assert Patience(LIMITS, chance=lambda: 1.0).wait_after(Unavailable("away", retry_after_seconds=2)) == 3.0
