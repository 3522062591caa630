"""Many chats at once, or completions beside them, one JSON line of what they took.

    python -m bench._chat_client < PLAN      (a JSON object with the fields of `Plan`)

As `bench._stream_client`, a process of its own without an HTTP library. The chats ask `asks` times each: all at the
same moment, again when all have been answered and a while has passed (`together`); or each for itself, after pauses of
about `pause_seconds`.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import dataclass, replace
from typing import Any, Literal

import uvloop

from bench._stream_client import COMPLETION, Asker, Question, Tally, http_request
from bench._stub_engine import TOKENS

WITHOUT_TOOLS = "Name a colour that you like."
WITH_TOOLS = "How much is 17 % of 2340?"
CONVERSATION = b"x-capibara6-conversation-id: "
LONGEST_SECONDS = 300.0

# direct: the model server's own `/v1/chat/completions`. chat: a new conversation each time, no tool needed.
# conversation: the same, in one conversation a stream. tools: a new one each time, tools are offered to the model.
Kind = Literal["direct", "chat", "conversation", "tools"]


@dataclass(frozen=True, slots=True)
class Plan:
    """pause_seconds: after an answer, or after all answers when `together`. tokens: 32, or 1 (at once)."""

    port: int
    kind: Kind
    streams: int
    asks: int
    together: bool = False
    pause_seconds: float = 0.0
    tokens: int = TOKENS
    seconds: float = LONGEST_SECONDS  # then nothing more is asked


def question_of(kind: Kind, tokens: int, conversation_id: str | None = None) -> Question:
    if kind == "direct":
        message = {"role": "user", "content": WITHOUT_TOOLS}
        body = {"model": "stub", "messages": [message], "max_tokens": tokens, "stream": True}
        return replace(COMPLETION, request=http_request("/v1/chat/completions", body), tokens=tokens)
    asked: dict[str, Any] = {"model": "stub", "message": WITH_TOOLS if kind == "tools" else WITHOUT_TOOLS}
    asked |= {"max_tokens": tokens} | ({"conversation_id": conversation_id} if conversation_id else {})
    return Question(http_request("/api/chat/stream", asked), b'"type":"token"', b'"type":"end"', tokens)


def conversation_of(head: bytes) -> str | None:
    """The conversation that a reply's head names."""
    _, found, rest = head.partition(CONVERSATION)
    return rest.split(b"\r\n", 1)[0].decode() if found else None


class Chats:
    """Who asks when. Raises RuntimeError when something was answered wrongly, or not in time."""

    def __init__(self, plan: Plan) -> None:
        self.tally = Tally()
        self._plan = plan
        self._answers: dict[Asker, asyncio.Event] = {}
        self._until = time.perf_counter() + plan.seconds

    async def run(self) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        plan = self._plan
        for _ in range(plan.streams):
            question = question_of(plan.kind, plan.tokens)
            _, asker = await loop.create_connection(
                lambda question=question: Asker(self.tally, question, self._answered),  # type: ignore[misc]
                "127.0.0.1",
                plan.port,
            )
            self._answers[asker] = asyncio.Event()
        began = time.perf_counter()
        try:
            async with asyncio.timeout(LONGEST_SECONDS + plan.seconds):
                await (self._together() if plan.together else self._each_for_itself())
        except TimeoutError:
            self.tally.failure = self.tally.failure or "an answer did not end in time"
        for asker in self._answers:
            asker.close()
        return {
            "first_token_seconds": self.tally.first_tokens,
            "answers": self.tally.answers,
            "seconds": time.perf_counter() - began,
            "failure": self.tally.failure,
        }

    def _answered(self, asker: Asker) -> None:
        if self._plan.kind == "conversation":
            asker.question = question_of("conversation", self._plan.tokens, conversation_of(asker.head))
        self._answers[asker].set()

    @property
    def _goes_on(self) -> bool:
        return not self.tally.failure and time.perf_counter() < self._until

    async def _together(self) -> None:
        for _ in range(self._plan.asks):
            if not self._goes_on:
                return
            for asker, answered in self._answers.items():
                answered.clear()
                asker.ask()
            for answered in self._answers.values():
                await self._wait(answered)
            await asyncio.sleep(self._plan.pause_seconds)

    async def _each_for_itself(self) -> None:
        async with asyncio.TaskGroup() as group:
            for asker in self._answers:
                group.create_task(self._chat(asker))

    async def _chat(self, asker: Asker) -> None:
        answered, pause = self._answers[asker], self._plan.pause_seconds
        await asyncio.sleep(random.uniform(0, pause))
        for _ in range(self._plan.asks):
            if not self._goes_on:
                return
            answered.clear()
            asker.ask()
            await self._wait(answered)
            await asyncio.sleep(random.uniform(pause / 2, 1.5 * pause))  # shorter than a server keeps a connection

    async def _wait(self, answered: asyncio.Event) -> None:
        while not answered.is_set() and not self.tally.failure:
            try:
                async with asyncio.timeout(1):
                    await answered.wait()
            except TimeoutError:
                continue


if __name__ == "__main__":
    plan = Plan(**json.loads(sys.stdin.read()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(Chats(plan).run())))
