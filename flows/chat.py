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
from flows.context import ContextWindow, head_of
from flows.errors import calls_no_tools, turn_timeout
from flows.model_call import TOOL_CHOICE, Ask, Said, call_model
from flows.prompting import with_results
from flows.speaking import Heard, Speaking, TurnSpeech
from flows.steps import Steps
from flows.tools import guided
from flows.tools.box import Toolbox
from flows.tools.calls import Call, Outcome, Tool
from flows.tools.running import REFUSED_FORM, ToolRunner
from flows.turn import (
    CLIENT_CALLS,
    Models,
    SystemPrompts,
    Transcript,
    Turn,
    TurnEvent,
    TurnLimits,
    TurnRequest,
)
from flows.window import Message
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
    """Who answers, with which tools. messages: what there is to read, OpenAI's form; window: what of it is read."""

    route: Route
    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]
    window: ContextWindow


@dataclass(slots=True)
class _Assistant:
    turn: Turn
    steps: Steps
    runner: ToolRunner = field(init=False)

    def __post_init__(self) -> None:
        self.runner = ToolRunner(self.turn, self.steps)

    async def answer(self) -> None:
        plan = await self._planned()
        client, asked = self.turn.request.tools.client, self.turn.request.messages[-1].role == "user"
        if plan.route.tool_calls == "guided" and client and self._forced():
            await self._guided_for_the_client(plan)
        elif plan.route.tool_calls == "guided" and plan.tools and asked:
            await self._guided(plan)
        elif plan.tools or client:
            await self._native(plan)
        else:
            await self._say(plan, await plan.window.fitted(plan.messages))

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
        messages = tuple(message.openai() for message in [*head_of(turn, route), *request.messages])
        return _Plan(route, tools if route.tool_calls else (), messages, ContextWindow.of(turn, route))

    async def _offered(self) -> tuple[Tool, ...]:
        wanted = self.turn.request.tools
        if not wanted.wanted:
            return ()
        return await self.turn.toolbox.offered(self.turn.request.question, wanted.allowed)

    def _forced(self) -> bool:
        """Whether the client wants a call of its own tools, whatever the model thinks."""
        choice = self.turn.request.tools.options.get("tool_choice")
        return choice == "required" or isinstance(choice, Mapping)

    async def _say(
        self,
        plan: _Plan,
        messages: Sequence[Message],
        *,
        options: Mapping[str, Any] | None = None,
        later: bool = False,
    ) -> Said:
        ask = Ask(plan.route.model, tuple(messages), options=options or {}, later=later)
        return await call_model(self.turn, self.steps, ask)

    async def _native(self, plan: _Plan) -> None:
        """The model calls tools by OpenAI's form; those of one answer run together. A client's tool goes before one of
        ours that has its name."""
        wanted, limits = self.turn.request.tools, self.turn.limits
        ours = tuple(tool for tool in plan.tools if tool.name not in wanted.client_names)
        offered = (*(tool.openai() for tool in ours), *wanted.client)
        names = frozenset(tool.name for tool in ours) | wanted.client_names
        messages = list(await plan.window.fitted(plan.messages, offered))
        for round_ in range(limits.tool_rounds + 1):
            last = round_ == limits.tool_rounds  # without tools, it has to answer
            ask = Ask(
                plan.route.model,
                tuple(messages),
                tools=() if last else offered,
                names=names,
                options={} if last else wanted.options,
                later=round_ > 0,
            )
            said = await call_model(self.turn, self.steps, ask)
            if last:
                await self.runner.note_too_many(said.calls)
            if last or not said.calls:
                return
            theirs = [call for call in said.calls if call.name in wanted.client_names]
            if theirs:  # the client runs its own, and comes back with the results
                await self._hand_over(theirs, said.text, messages)
                return
            outcomes = await self.runner.run_all(said.calls, ours)
            asking = {
                "role": "assistant",
                "content": said.text or None,
                "tool_calls": [one.openai() for one in said.calls],
            }
            texts = await plan.window.results([outcome.text for outcome in outcomes], [*messages, asking])
            results = [
                {"role": "tool", "tool_call_id": call.id, "content": text}
                for call, text in zip(said.calls, texts, strict=True)
            ]
            messages = list(await plan.window.fitted([*messages, asking, *results], offered))

    async def _hand_over(self, calls: list[Call], text: str, messages: Sequence[Message]) -> None:
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
            call = await self._chosen(plan, plan.tools, results, later=round_ > 0)
            if call is None or not self._is_worth_trying(call, results):
                break
            outcome = (await self.runner.run_all([call], plan.tools))[0]
            results.append((call, outcome))
            if not outcome.failed or outcome.error_code == "tool_not_allowed":
                break
        if not results and request.tools.client:
            await self._native(_Plan(plan.route, (), plan.messages, plan.window))
            return
        messages, short = plan.messages, dict[str, Any]()
        if results:
            *before, newest = plan.messages
            call, outcome = results[-1]
            [text] = await plan.window.results([outcome.text], plan.messages)
            told = with_results(str(newest["content"]), (call, replace(outcome, text=text)), request.locale)
            messages, short = (*before, {**newest, "content": told}), short_answer(request.options)
        await self._say(plan, await plan.window.fitted(messages), options=short, later=bool(results))
        if "max_tokens" in short and self.turn.transcript.finish_reason == "length":
            self.turn.transcript.finish_reason = "stop"  # the limit was ours, not the client's

    def _is_worth_trying(self, call: Call, failed: Sequence[tuple[Call, Outcome]]) -> bool:
        """What failed as it stands fails again; what has nothing of the question was copied from an example."""
        if not failed:
            return True
        again = any((call.name, call.arguments) == (one.name, one.arguments) for one, _ in failed)
        return not again and guided.is_grounded(call, self.turn.request.question)

    async def _guided_for_the_client(self, plan: _Plan) -> None:
        """A small model fills in a call of one of the client's tools, which the client insists on."""
        wanted = self.turn.request.tools
        choice = wanted.options.get("tool_choice")
        name = choice["function"]["name"] if isinstance(choice, Mapping) else None
        tools = [of_openai(function) for function in wanted.client]
        call = await self._chosen(plan, [tool for tool in tools if name in (None, tool.name)], [], later=False)
        if call is None:
            await self._say(plan, await plan.window.fitted(plan.messages), later=True)
        else:
            await self._hand_over([call], "", plan.messages)

    async def _chosen(
        self, plan: _Plan, tools: Sequence[Tool], failures: list[tuple[Call, Outcome]], *, later: bool
    ) -> Call | None:
        """The call the model writes; None, and noted, where it writes none."""
        request = self.turn.request
        told = guided.messages(tools, request.question, request.locale, failures)
        options = {
            "response_format": guided.grammar(tools),
            "temperature": 0,
            "max_tokens": self.turn.limits.tool_call_tokens,
            "stop": None,
        }
        ask = Ask(plan.route.model, tuple(told), options=options, name=TOOL_CHOICE, shown=False, later=later)
        try:
            said = await call_model(self.turn, self.steps, ask)
        except ApiError as error:
            if error.status not in {400, 422}:
                raise
            await self.runner.note_none(error.detail, tools, REFUSED_FORM)  # a schema that its engine does not take
            return None
        call = guided.read(said.text, f"call_{len(failures)}", tools, cut_off=said.cut_off)
        if call is None:
            await self.runner.note_none(said.text, tools)
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
    """Where a small model answers from a result: it says it in its first lines, and then often again and again. Not
    where a form is asked for, which such an end would break."""
    if "response_format" in options:
        return {}
    limits = {"max_tokens": SHORT_ANSWER_TOKENS, "stop": ["\n\n"]}
    return {name: value for name, value in limits.items() if options.get(name) is None}


def of_openai(function: Mapping[str, Any]) -> Tool:
    """A client's own tool, as ours are described."""
    told = function["function"]
    return Tool.of(
        {"name": told["name"], "description": told.get("description"), "inputSchema": told.get("parameters")}
    )


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
        given, speech = self._with, self._speech(sink)
        turn = Turn(
            self._request, given.models, given.toolbox, given.prompts, given.limits,
            sink if speech is None else Heard(sink, speech), on_first_output, self._written, self.account,
        )  # fmt: skip
        conversing = converse(turn, steps)
        return await (conversing if speech is None else speech.beside(conversing, steps))

    def _speech(self, sink: Sink[TurnEvent]) -> TurnSpeech | None:
        wish, speaking = self._request.speak, self._with.speaking
        if wish is None or speaking is None:
            return None
        return TurnSpeech(wish, self._request, speaking, sink, self.account, self._written)

    def finished(self, run: NewRun, status: RunStatus, error: ApiError | None, span: Span) -> FinishedRun:
        said = self.account
        return FinishedRun(
            id=run.id,
            owner=run.owner,
            conversation_id=run.conversation_id,
            status=status,
            message_id=uuid7(),
            content=said.text,
            complete=status == "completed" or said.answered,  # cut short while it was spoken, it is whole
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
    """What every turn works with, made once a process. speaking: None where nothing is spoken."""

    models: Models
    toolbox: Toolbox
    prompts: SystemPrompts
    limits: TurnLimits
    speaking: Speaking | None = None
