"""Summarising what was said longer ago, beside the chat: a run of its own, at a batch request's place in the queue.

A turn that came near the end of its model's context leaves it behind. The summary covers the older messages up to a
position, and stands before the newer ones when the next turn is read.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db.records import FinishedRun, History, MessageRecord, NewRun, OwnedRun, RunStatus
from flows.errors import turn_timeout
from flows.prompting import PromptFolder
from flows.steps import Steps
from flows.turn import Models, Started, Transcript
from flows.window import MESSAGE_TOKENS
from flows.work import Performed, Sink, Span, finished_run
from wire.context import RequestContext, outgoing_headers
from wire.errors import ApiError
from wire.language import language_of

KIND = "summary"
TASK = "summarise"
SUMMARY_TOKENS = 256
ROOM_TOKENS = 128  # for the task's own words and the chat template
LONGEST_MESSAGE_CHARS = 4000  # of each message; what is beyond says little that a summary would keep
BATCH = {"x-capibara6-priority": "batch"}


@dataclass(frozen=True, slots=True)
class SummaryLimits:
    """context_share: of its model's context that a turn may have read before its conversation is summarised.
    kept_messages: the newest ones, which stay as they are."""

    context_share: float
    kept_messages: int
    timeout_seconds: float


def is_due(said: Transcript, limits: SummaryLimits) -> bool:
    """Whether a turn that has ended well read so much that the next one should read a summary instead."""
    if said.dropped:
        return True
    return bool(said.context_tokens) and said.read_tokens > limits.context_share * said.context_tokens


def older_part(messages: Sequence[MessageRecord], kept: int) -> Sequence[MessageRecord]:
    """What is summarised: all but the newest, and never only the question of an answer that stays."""
    said = [message for message in messages if message.role != "system"]  # what a model is told to be stays as it is
    older = said[: max(0, len(said) - kept)]
    while older and older[-1].role != "assistant":
        older = older[:-1]
    return older


def told(messages: Sequence[MessageRecord]) -> list[str]:
    return [f"{message.role}: {message.content[:LONGEST_MESSAGE_CHARS]}" for message in messages]


def fitting(counts: Sequence[int], room: int) -> int:
    """How many of the oldest messages fit; one at least, which the model's own limit then cuts or refuses."""
    for index, count in enumerate(counts):
        room -= count + MESSAGE_TOKENS
        if room < 0:
            return max(1, index)
    return len(counts)


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """model: that answered last, and so is likely in memory. history: what is there; its summary goes into the new
    one."""

    context: RequestContext
    owner: str
    conversation_id: uuid.UUID
    model: str
    history: History


Keep = Callable[[str, int], Awaitable[bool]]


class SummaryWork:
    """`flows.work.Work`. keep: stores a summary up to a position."""

    kind = KIND

    def __init__(
        self, request: SummaryRequest, models: Models, prompts: PromptFolder, limits: SummaryLimits, keep: Keep
    ) -> None:
        self._request = request
        self._models = models
        self._prompts = prompts
        self._limits = limits
        self._keep = keep
        self.account = Transcript()

    @property
    def timeout_seconds(self) -> float:
        return self._limits.timeout_seconds

    def timed_out(self) -> ApiError:
        return turn_timeout(self._limits.timeout_seconds)

    async def perform(self, sink: Sink[Started], steps: Steps, on_first_output: Callable[[], None]) -> Performed:
        on_first_output()
        older = older_part(self._request.history.messages, self._limits.kept_messages)
        try:
            if older:
                await self._summarise(older, sink, steps)
        except ApiError as error:
            return Performed("failed", error)
        return Performed("completed")

    async def _summarise(self, older: Sequence[MessageRecord], sink: Sink[Started], steps: Steps) -> None:
        request, account = self._request, self.account
        headers = outgoing_headers(request.context) | BATCH
        route = await self._models.route(
            {"model": request.model, "messages": [{"role": "user", "content": ""}]}, headers
        )
        summary = request.history.summary
        texts = [*([f"({summary})"] if summary else []), *told(older)]
        counts = await self._models.count_tokens(request.model, texts, headers)
        room = route.context_tokens - SUMMARY_TOKENS - ROOM_TOKENS
        taken = fitting(counts, room) if route.context_tokens else len(texts)
        if taken < len(texts):
            texts, older = texts[:taken], older[: max(1, taken - bool(summary))]
        task = self._prompts.task(TASK, language_of(" ".join(texts)))
        body: Mapping[str, Any] = {
            "model": request.model,
            "messages": [{"role": "user", "content": "\n\n".join([task, *texts, task])}],
            "max_tokens": SUMMARY_TOKENS,
            "temperature": 0,
        }

        async def call() -> None:
            async with self._models.stream_chat(body, headers) as stream:
                account.model, account.route = stream.model or request.model, stream.route
                await sink.put(Started(account.model, account.route))
                async for chunk in stream.chunks:
                    account.said += [
                        (choice.get("delta") or {}).get("content") or "" for choice in chunk.get("choices") or ()
                    ]
                    usage = chunk.get("usage")
                    if usage:
                        account.add_usage(
                            int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
                        )

        async with account.step("model_call", kind="model_call"):
            await steps.run("model_call", call, timeout_seconds=self._limits.timeout_seconds)
        if account.text.strip():
            async with account.step("keep_summary") as note:
                note.detail["until"] = older[-1].position
                note.detail["kept"] = await self._keep(account.text.strip(), older[-1].position)

    def finished(self, run: NewRun, status: RunStatus, error: ApiError | None, span: Span) -> FinishedRun:
        owned = OwnedRun(run.id, run.owner, run.conversation_id)
        return finished_run(owned, self.account, status, error, span, modelled=self.account)
