"""The assistant: one coroutine that owns a chat turn from its first byte to the model to the last token.

Model → tool calls → results → model, until the model answers. It knows nothing of Prefect, Postgres or HTTP replies;
whatever ends it, the text and the calls up to there are in its transcript. A question that needs no tool is one model
call, opened at once. How a model is asked for calls is its own: OpenAI's `tools` for those that were taught them,
examples and a grammar for small ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from db.records import FinishedRun, NewRun, RunStatus, StepRecord
from flows.errors import calls_no_tools, turn_timeout
from flows.model_call import TOOL_CHOICE, Ask, Said, call_model
from flows.prompting import with_results
from flows.steps import Steps
from flows.tools import guided
from flows.tools.box import Toolbox
from flows.tools.calls import Call, Outcome, Tool
from flows.tools.running import ToolRunner
from flows.turn import (
    CLIENT_CALLS,
    ChatMessage,
    Models,
    SystemPrompts,
    Transcript,
    Turn,
    TurnEvent,
    TurnLimits,
    TurnRequest,
)
from flows.window import beginning_with_the_user, newest_that_fit, surely_fits
from flows.work import Performed, Sink, Span
from wire.clients.models import Route
from wire.context import outgoing_headers
from wire.errors import ApiError
from wire.ids import uuid7

SHORT_ANSWER_TOKENS = 200


async def converse(turn: Turn, steps: Steps) -> Performed:
    """Takes the turn. Returns how it ended; cancelling it stops generation and tools, and leaves the transcript."""
    try:
        await _Assistant(turn, steps).answer()
    except ApiError as error:
        return Performed("failed", error)
    return Performed("completed")


@dataclass(slots=True)
class _Plan:
    """Who answers, with which tools. messages: what it reads, OpenAI's form, within its context."""

    route: Route
    tools: tuple[Tool, ...]
    messages: tuple[Mapping[str, Any], ...]


@dataclass(slots=True)
class _Assistant:
    turn: Turn
    steps: Steps
    runner: ToolRunner = field(init=False)

    def __post_init__(self) -> None:
        self.runner = ToolRunner(self.turn, self.steps)

    async def answer(self) -> None:
        plan = await self._planned()
        client = self.turn.request.tools.client
        if not plan.tools and not client:
            await self._say(plan, plan.messages)
        elif plan.route.tool_calls == "guided" and not client:
            await self._guided(plan)
        else:
            await self._native(plan)

    async def _planned(self) -> _Plan:
        """The model and the tools are chosen side by side."""
        turn, request = self.turn, self.turn.request
        told: dict[str, Any] = {
            "model": request.model or "auto",
            "messages": [one.openai() for one in request.messages],
        }
        if request.tools.client:
            told["tools"] = list(request.tools.client)  # whoever is chosen has to be able to call them
        routing = turn.models.route(told, outgoing_headers(request.context))
        route, tools = await both(routing, self._offered())
        if request.tools.client and not route.tool_calls:
            raise calls_no_tools(route.model)
        turn.transcript.route, turn.transcript.context_tokens = route.reason, route.context_tokens
        return _Plan(route, tools if route.tool_calls else (), await self._within_context(route))

    async def _offered(self) -> tuple[Tool, ...]:
        wanted = self.turn.request.tools
        if not wanted.wanted:
            return ()
        return await self.turn.toolbox.offered(self.turn.request.question, wanted.allowed)

    async def _within_context(self, route: Route) -> tuple[Mapping[str, Any], ...]:
        """Everything new, and the newest of what was said before that fits; the system's words first."""
        turn, request = self.turn, self.turn.request
        messages = tuple(message.openai() for message in [*self._head(route), *request.messages])
        if not route.context_tokens:
            return messages
        answer = int(request.options.get("max_tokens") or turn.limits.answer_tokens)
        room = route.context_tokens - min(answer, route.context_tokens // 2)
        if surely_fits(messages, room):
            return messages
        texts = [str(message.get("content") or "") for message in messages]
        counts = await turn.models.count_tokens(route.model, texts, outgoing_headers(request.context))
        kept = newest_that_fit(messages, counts, room)
        turn.transcript.dropped = len(messages) - len(kept)
        return kept

    def _head(self, route: Route) -> list[ChatMessage]:
        """The system message: the client's own, or ours for this model; and what was said longer ago, in short."""
        request = self.turn.request
        own = request.messages[0].role == "system"
        said = "" if own else self.turn.prompts.system(route.model, request.locale, small=route.tool_calls == "guided")
        return [ChatMessage("system", text)] if (text := with_summary(said, request)) else []

    async def _say(
        self,
        plan: _Plan,
        messages: Sequence[Mapping[str, Any]],
        *,
        options: Mapping[str, Any] | None = None,
        later: bool = False,
    ) -> Said:
        ask = Ask(plan.route.model, joined_head(messages), options=options or {}, later=later)
        return await call_model(self.turn, self.steps, ask)

    async def _native(self, plan: _Plan) -> None:
        """The model calls tools by OpenAI's form; those of one answer run together. A client's tool goes before one of
        ours that has its name."""
        wanted, limits = self.turn.request.tools, self.turn.limits
        ours = tuple(tool for tool in plan.tools if tool.name not in wanted.client_names)
        offered = (*(tool.openai() for tool in ours), *wanted.client)
        names = frozenset(tool.name for tool in ours) | wanted.client_names
        messages = list(joined_head(plan.messages))
        for round_ in range(limits.tool_rounds + 1):
            last = round_ == limits.tool_rounds  # without tools, it has to answer
            ask = Ask(
                plan.route.model,
                tuple(messages),
                tools=() if last else offered,
                names=frozenset() if last else names,
                options={} if last else wanted.options,
                later=round_ > 0,
            )
            said = await call_model(self.turn, self.steps, ask)
            if not said.calls:
                return
            theirs = [call for call in said.calls if call.name in wanted.client_names]
            if theirs:  # the client runs its own, and comes back with the results
                await self._hand_over(theirs, said.text, messages)
                return
            outcomes = await self.runner.run_all(said.calls, ours)
            messages.append(
                {"role": "assistant", "content": said.text or None, "tool_calls": [one.openai() for one in said.calls]}
            )
            messages += [
                {"role": "tool", "tool_call_id": call.id, "content": outcome.text}
                for call, outcome in zip(said.calls, outcomes, strict=True)
            ]

    async def _hand_over(self, calls: list[Call], text: str, messages: Sequence[Mapping[str, Any]]) -> None:
        """Ends the turn with calls that the client makes. What they follow from since the question is kept in a step:
        a conversation holds none of it, and whoever goes on with it needs all."""
        transcript = self.turn.transcript
        transcript.client_calls, transcript.finish_reason = calls, "tool_calls"
        asked = max((place for place, one in enumerate(messages) if one["role"] == "user"), default=-1)
        asking = {"role": "assistant", "content": text, "tool_calls": [call.openai() for call in calls]}
        async with transcript.step(CLIENT_CALLS, kind="tool_call") as note:
            if self.turn.request.stored:
                note.detail["messages"] = [*(dict(one) for one in messages[asked + 1 :]), asking]

    async def _guided(self, plan: _Plan) -> None:
        """A small model fills in a call, with another try where it failed; then it answers from the result."""
        request, results = self.turn.request, list[tuple[Call, Outcome]]()
        self.turn.on_first_output()  # its flow run may stand before the call is written
        for round_ in range(self.turn.limits.tool_rounds):
            call = await self._chosen(plan, results, later=round_ > 0)
            if call is None or (results and call.arguments == results[-1][0].arguments):
                break  # what failed as it stands fails again
            outcome = (await self.runner.run_all([call], plan.tools))[0]
            results.append((call, outcome))
            if not outcome.failed or outcome.error_code == "tool_not_allowed":
                break
        *before, newest = plan.messages
        if results and newest["role"] == "user":
            told = with_results(str(newest["content"]), results[-1], request.locale)
            newest = {**newest, "content": told}
        short = short_answer(request.options) if results else {}
        await self._say(plan, [*before, newest], options=short, later=bool(results))

    async def _chosen(self, plan: _Plan, failures: list[tuple[Call, Outcome]], *, later: bool) -> Call | None:
        """The call the model writes; None, and noted, where it writes none."""
        request = self.turn.request
        told = guided.messages(plan.tools, request.question, request.locale, failures)
        options = {
            "response_format": guided.grammar(plan.tools),
            "temperature": 0,
            "max_tokens": self.turn.limits.tool_call_tokens,
            "stop": None,
        }
        ask = Ask(plan.route.model, tuple(told), options=options, name=TOOL_CHOICE, shown=False, later=later)
        said = await call_model(self.turn, self.steps, ask)
        call = guided.read(said.text, f"call_{len(failures)}", plan.tools)
        if call is None:
            await self.runner.note_unreadable(said.text, plan.tools)
        return call


async def both(routing: Any, offering: Any) -> tuple[Route, tuple[Tool, ...]]:
    """Both results; where one fails, the other is not left behind."""
    try:
        async with asyncio.TaskGroup() as group:
            route, tools = group.create_task(routing), group.create_task(offering)
    except* ApiError as several:
        raise several.exceptions[0] from None
    return route.result(), tools.result()


def without_words(step: StepRecord) -> StepRecord:
    """As it is kept of a turn of which nothing said may be: why a tool failed is told in the words it was given."""
    return replace(step, error_detail=None)


def short_answer(options: Mapping[str, Any]) -> dict[str, Any]:
    """Where a small model answers from a result: it says it in its first lines, and then often again and again."""
    limits = {"max_tokens": SHORT_ANSWER_TOKENS, "stop": ["\n\n"]}
    return {name: value for name, value in limits.items() if options.get(name) is None}


def with_summary(system: str, request: TurnRequest) -> str:
    words = {"es": "Resumen de lo dicho antes:", "en": "Summary of what was said before:"}
    summary = f"{words[request.locale]} {request.summary}" if request.summary else ""
    return "\n\n".join(part for part in (system, summary) if part)


def joined_head(messages: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """One system message at the head: chat templates know no second one."""
    system = [message for message in messages if message["role"] == "system"]
    rest = beginning_with_the_user(tuple(message for message in messages if message["role"] != "system"))
    if len(system) < 2:
        return (*system, *rest)
    return ({"role": "system", "content": "\n\n".join(str(one["content"]) for one in system)}, *rest)


class ChatWork:
    """A chat turn as `flows.work.Work`. written: waits until the run's row is there, which its files belong to."""

    kind = "chat"

    def __init__(self, request: TurnRequest, with_: Assistance, written: Any) -> None:
        self._request = request
        self._with = with_
        self._written = written
        self.account = Transcript()

    @property
    def timeout_seconds(self) -> float:
        return self._request.timeout_seconds

    def timed_out(self) -> ApiError:
        return turn_timeout(self._request.timeout_seconds)

    async def perform(self, sink: Sink[TurnEvent], steps: Steps, on_first_output: Any) -> Performed:
        given = self._with
        turn = Turn(
            self._request, given.models, given.toolbox, given.prompts, given.limits, sink, on_first_output,
            self._written, self.account,
        )  # fmt: skip
        return await converse(turn, steps)

    def finished(self, run: NewRun, status: RunStatus, error: ApiError | None, span: Span) -> FinishedRun:
        said = self.account
        return FinishedRun(
            id=run.id,
            owner=run.owner,
            conversation_id=run.conversation_id,
            status=status,
            message_id=uuid7(),
            content=said.text,
            complete=status == "completed",
            model=said.model,
            route=said.route,
            prompt_tokens=said.prompt_tokens,
            completion_tokens=said.completion_tokens,
            queue_ms=said.queue_ms,
            load_ms=said.load_ms,
            first_token_ms=said.first_token_ms,
            total_ms=span.total_ms,
            error_code=error.code if error else None,
            error_detail=error.detail if error else None,
            started_at=said.started_at,
            ended_at=span.ended_at,
            steps=tuple(said.steps) if self._request.stored else tuple(map(without_words, said.steps)),
            tool_calls=tuple(said.tool_calls),
            replaces=run.replaces,
        )


@dataclass(frozen=True, slots=True)
class Assistance:
    """What every turn works with, made once a process."""

    models: Models
    toolbox: Toolbox
    prompts: SystemPrompts
    limits: TurnLimits
