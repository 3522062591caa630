"""What a model reads of a turn, within its context: by count of tokens, asked only where bytes do not settle it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.turn import ChatMessage, Turn, TurnRequest
from flows.window import (
    MESSAGE_TOKENS,
    Message,
    beginning_with_the_user,
    newest_that_fit,
    question_at,
    surely_fits,
    text_of,
)
from wire.clients.models import Route
from wire.context import outgoing_headers

LEAST_RESULT_CHARS = 200  # of a tool's result, however little room there is
CUT = "\n[… cut: it does not fit into the model's context]"
_SUMMARY = {"es": "Resumen de lo dicho antes:", "en": "Summary of what was said before:"}


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """room: tokens that a prompt may have, so that an answer fits after it; 0: not known, and everything is read."""

    turn: Turn
    model: str
    room: int

    @classmethod
    def of(cls, turn: Turn, route: Route) -> ContextWindow:
        answer = int(turn.request.options.get("max_tokens") or turn.limits.answer_tokens)
        room = route.context_tokens - min(answer, route.context_tokens // 2)
        return cls(turn, route.model, room)

    async def fitted(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> tuple[Message, ...]:
        """The system message, all since the question, and the newest of what was said before that fits. tools: told
        beside them."""
        known = joined_head(messages)
        told = json.dumps(list(tools), ensure_ascii=False) if tools else ""
        if self.room <= 0 or surely_fits([*known, {"content": told}], self.room):
            return known
        *counts, for_tools = await self._counts([*(text_of(message) for message in known), told])
        kept = newest_that_fit(known, counts, self.room - for_tools)
        self.turn.transcript.dropped += len(known) - len(kept)
        return kept

    async def results(self, texts: Sequence[str], beside: Sequence[Message]) -> list[str]:
        """Results of tools, cut to what is left beside the system message and what follows the question."""
        known = joined_head(beside)
        fixed = [*[one for one in known if one["role"] == "system"], *known[question_at(known) :]]
        if self.room <= 0 or surely_fits([*fixed, *({"content": text} for text in texts)], self.room):
            return list(texts)
        counts = await self._counts([*(text_of(message) for message in fixed), *texts])
        left = self.room - sum(counts[: len(fixed)]) - MESSAGE_TOKENS * (len(fixed) + len(texts))
        each = max(0, left) // max(1, len(texts))
        return [shortened(text, count, each) for text, count in zip(texts, counts[len(fixed) :], strict=True)]

    async def _counts(self, texts: list[str]) -> list[int]:
        return await self.turn.models.count_tokens(self.model, texts, outgoing_headers(self.turn.request.context))


def shortened(text: str, tokens: int, most_tokens: int) -> str:
    """The text's beginning, of about so many tokens; a mark at its end stays."""
    if tokens <= most_tokens:
        return text
    head, _, last = text.rpartition("\n")
    mark = f"\n{last}" if last.startswith("<<<") else ""
    kept = (head if mark else text)[: max(LEAST_RESULT_CHARS, int(len(text) * 0.9 * most_tokens / tokens))]
    return kept + CUT + mark


def joined_head(messages: Sequence[Message]) -> tuple[Message, ...]:
    """One system message at the head: chat templates know no second one."""
    system = [message for message in messages if message["role"] == "system"]
    rest = beginning_with_the_user(tuple(message for message in messages if message["role"] != "system"))
    if len(system) < 2:
        return (*system, *rest)
    return ({"role": "system", "content": "\n\n".join(str(one["content"]) for one in system)}, *rest)


def head_of(turn: Turn, route: Route) -> list[ChatMessage]:
    """The system message: the client's own, or ours for this model; and what was said longer ago, in short."""
    request = turn.request
    own = any(message.role == "system" for message in request.messages)
    said = "" if own else turn.prompts.system(route.model, request.locale, small=route.tool_calls == "guided")
    return [ChatMessage("system", text)] if (text := _with_summary(said, request)) else []


def _with_summary(system: str, request: TurnRequest) -> str:
    summary = f"{_SUMMARY[request.locale]} {request.summary}" if request.summary else ""
    return "\n\n".join(part for part in (system, summary) if part)
