"""One item of a batch, asked of a model: at a batch's place in the queue, and again while the model server is full or
away. Decides how long to wait; the waiting itself and the clock are the caller's.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from db.batch_items import ItemRecord
from flows.chat_asked import Asked
from flows.item_files import Question
from flows.summary import BATCH
from flows.turn import Models
from wire.context import RequestContext, outgoing_headers
from wire.errors import ApiError, DeadlineExceeded

FULL = frozenset({429, 503})  # it will take the item later; whatever it says to wait is waited
BROKEN = frozenset({500, 502, 504})  # this call failed; another may not
LEAST_WAIT_SECONDS, MOST_WAIT_SECONDS = 0.5, 60.0


@dataclass(frozen=True, slots=True)
class AskingLimits:
    """item_seconds: of one call. retries: of calls that broke. wait_seconds: for a server that is full or away, all
    waits of an item together. answer_chars: of an answer that are kept.
    """

    item_seconds: float
    retries: int
    wait_seconds: float
    answer_chars: int


@dataclass(slots=True)
class Patience:
    """What an item has waited and tried."""

    limits: AskingLimits
    waited_seconds: float = 0.0
    broken: int = 0
    refused: int = 0
    chance: Callable[[], float] = random.random

    def wait_after(self, error: ApiError) -> float | None:
        """Seconds to wait before another call; None when there should be none."""
        if error.status in FULL:
            self.refused += 1
            asked = error.retry_after_seconds or LEAST_WAIT_SECONDS * 2 ** min(self.refused, 7)
            wait = _spread(min(max(asked, LEAST_WAIT_SECONDS), MOST_WAIT_SECONDS), self.chance())
            if self.waited_seconds + wait > self.limits.wait_seconds:
                return None
        elif error.status in BROKEN and self.broken < self.limits.retries:
            self.broken += 1
            wait = _spread(LEAST_WAIT_SECONDS * 2**self.broken, self.chance())
        else:
            return None
        self.waited_seconds += wait
        return wait


def _spread(seconds: float, chance: float) -> float:
    """Up to a half more: what was refused together does not come back together."""
    return seconds * (1 + chance / 2)


@dataclass(slots=True)
class Answer:
    pieces: list[str] = field(default_factory=list)
    model: str | None = None
    route: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


async def ask_item(
    models: Models,
    asked: Asked,
    question: Question,
    limits: AskingLimits,
    context: RequestContext,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> ItemRecord:
    """What came of it: completed, or failed with the last call's error. Cancelling it closes the call."""
    patience, attempts, began = Patience(limits), 0, time.perf_counter()

    def ended(answer: Answer, error: ApiError | None) -> ItemRecord:
        return ItemRecord(
            question.number,
            question.name,
            "failed" if error else "completed",
            None if error else "".join(answer.pieces),
            answer.model,
            answer.route,
            answer.prompt_tokens,
            answer.completion_tokens,
            round((time.perf_counter() - began) * 1000, 1),
            attempts,
            error.code if error else None,
            error.detail if error else None,
        )

    while True:
        answer = Answer()
        attempts += 1
        try:
            async with asyncio.timeout(limits.item_seconds):
                await _call(models, request_of(asked, question), answer, limits, context)
        except TimeoutError:
            late = f"No whole answer in {limits.item_seconds:.0f} s (CAPIBARA6_CHAT_BATCH_ITEM_SECONDS)."
            return ended(answer, DeadlineExceeded(late, code="item_timeout"))
        except ApiError as error:
            wait = patience.wait_after(error)
            if wait is None:
                return ended(answer, error)
            await sleep(wait)
        else:
            return ended(answer, None)


def request_of(asked: Asked, question: Question) -> dict[str, Any]:
    """The OpenAI chat request."""
    body: dict[str, Any] = {"model": question.model or asked.model, "messages": list(question.messages)}
    for name in ("max_tokens", "temperature"):
        own = getattr(question, name)
        value = getattr(asked, name) if own is None else own
        if value is not None:
            body[name] = value
    return body


async def _call(
    models: Models, body: Mapping[str, Any], answer: Answer, limits: AskingLimits, context: RequestContext
) -> None:
    left = limits.answer_chars
    async with models.stream_chat(body, outgoing_headers(context) | BATCH) as stream:
        answer.model, answer.route = stream.model or None, stream.route or None
        async for chunk in stream.chunks:
            answer.model = answer.model or chunk.get("model")
            for choice in chunk.get("choices") or ():
                text = ((choice.get("delta") or {}).get("content") or "")[:left]
                left -= len(text)
                answer.pieces.append(text)
            usage = chunk.get("usage")
            if usage:
                answer.prompt_tokens = int(usage.get("prompt_tokens") or 0)
                answer.completion_tokens = int(usage.get("completion_tokens") or 0)
