"""A turn with everything around it faked: a model and tools that do what the test says."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from flows.tools.box import Surroundings
from flows.tools.calls import Call, Example, Outcome, Tool
from flows.tools.policy import Allowed
from flows.turn import (
    ChatMessage,
    Locale,
    ToolsWanted,
    Turn,
    TurnEvent,
    TurnLimits,
    TurnRequest,
)
from wire.clients.models import ChatStream, Route
from wire.context import RequestContext
from wire.errors import ApiError, InvalidRequest
from wire.ids import uuid7
from wire.principals import LOCAL
from wire.trace import TraceContext


def token(text: str) -> dict[str, Any]:
    return {"model": "m", "choices": [{"delta": {"content": text}}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


class Model:
    """Each call takes the next script: chunks to give, or an error to raise where it stands."""

    def __init__(self, *scripts: list[Any], tool_calls: Any = "native", context_tokens: int = 4096) -> None:
        self.scripts = list(scripts)
        self.chosen = Route("m", "auto", tool_calls, context_tokens)
        self.counted: list[list[str]] = []
        self.calls: list[Mapping[str, Any]] = []
        self.open = 0

    @asynccontextmanager
    async def stream_chat(
        self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[ChatStream]:
        self.calls.append(request)
        script = self.scripts.pop(0)
        if script and isinstance(script[0], ApiError):
            raise script[0]
        self.open += 1
        try:
            yield ChatStream("m", "auto", 1.0, None, self._chunks(script))
        finally:
            self.open -= 1

    async def route(self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Route:
        return self.chosen

    async def count_tokens(self, model: str, texts: list[str], headers: Mapping[str, str] | None = None) -> list[int]:
        self.counted.append(texts)
        return [len(text) for text in texts]

    async def _chunks(self, script: list[Any]) -> AsyncIterator[dict[str, Any]]:
        for one in script:
            if isinstance(one, ApiError):
                raise one
            if one is None:
                await asyncio.Event().wait()
            yield one


class Sink:
    def __init__(self) -> None:
        self.events: list[TurnEvent] = []

    async def put(self, event: TurnEvent) -> None:
        self.events.append(event)


class Prompts:
    def system(self, model: str, locale: Locale, *, small: bool) -> str:
        return ""


CALCULATE = Tool(
    "calculate",
    "Exact arithmetic.",
    {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    read_only=True, idempotent=True, open_world=False, examples=(Example("2 and 2?", {"expression": "2+2"}),),
)  # fmt: skip


class Tools:
    """Outcomes by the tool's name; what is no Outcome is raised, None hangs."""

    def __init__(self, *tools: Tool, **outcomes: Any) -> None:
        self.tools = tools
        self.outcomes = outcomes
        self.calls: list[Call] = []
        self.under_way = self.most_under_way = 0

    async def offered(self, question: str, allowed: Allowed) -> tuple[Tool, ...]:
        return tuple(tool for tool in self.tools if allowed.offers(tool))

    async def call(self, call: Call, tool: Tool, around: Surroundings) -> Outcome:
        self.calls.append(call)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            outcome = self.outcomes[tool.name]
            await asyncio.sleep(0.001)
            if outcome is None:
                await asyncio.Event().wait()
            if isinstance(outcome, list):
                outcome = outcome.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome
        finally:
            self.under_way -= 1


LIMITS = TurnLimits(tool_rounds=3, calls_at_once=4, tool_call_tokens=64, answer_tokens=100)


async def at_once() -> None:
    """The run's row is there."""


def turn_with(
    model: Model, *messages: ChatMessage, tools: Tools | None = None, wanted: ToolsWanted | None = None
) -> tuple[Turn, Sink, list[int]]:
    sink, firsts = Sink(), list[int]()
    request = TurnRequest(
        RequestContext(uuid7(), TraceContext.new(), LOCAL), uuid.uuid4(), None,
        messages or (ChatMessage("user", "hola"),), {"temperature": 0}, 60,
        tools=wanted or ToolsWanted(wanted=tools is not None),
    )  # fmt: skip
    box = tools or Tools()
    return Turn(request, model, box, Prompts(), LIMITS, sink, lambda: firsts.append(1), at_once), sink, firsts


TOO_LONG = InvalidRequest("This model's maximum context length is 4096 tokens. However, your prompt contains 5000 …")


def history(questions: int) -> list[ChatMessage]:
    """That many questions, all but the last answered."""
    pairs = [(ChatMessage("user", f"q{number}"), ChatMessage("assistant", f"a{number}")) for number in range(questions)]
    return [message for pair in pairs for message in pair][:-1]


def asked(model: Model) -> list[list[str]]:
    return [[message["content"] for message in call["messages"]] for call in model.calls]
