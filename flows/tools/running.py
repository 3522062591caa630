"""Running the calls of a turn: policy, the step of each, its record, and what the reader is told."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from db.records import ToolCallRecord
from flows.link import NO_RETRIES, Retries
from flows.steps import Steps
from flows.tools.box import Surroundings
from flows.tools.calls import Call, Outcome, Tool
from flows.tools.policy import RUN_PYTHON
from flows.turn import ToolCalled, ToolReturned, Turn
from wire.context import enter
from wire.errors import ApiError, DeadlineExceeded, Unavailable

MARGIN_SECONDS = 2.0  # beside the tool's own limit, for its server to say itself that it is over
RETRIES = 1  # of a tool that may be repeated, where its server was not to be reached or broke off
UNREADABLE = Outcome("The model wrote no call that could be read.", "unreadable_call")
REFUSED_FORM = Outcome("The model's server takes no grammar for this tool.", "grammar_refused")
TOO_MANY_ROUNDS = Outcome("The turn has had all its rounds of tools (CAPIBARA6_CHAT_TOOL_ROUNDS).", "too_many_rounds")

log = logging.getLogger("flows.tools")


@dataclass(slots=True)
class ToolRunner:
    """tainted: text from outside has been read in this run, by a call of it."""

    turn: Turn
    steps: Steps
    tainted: bool = field(init=False)
    _numbered: int = field(default=0)

    def __post_init__(self) -> None:
        request = self.turn.request
        # What a client brings as the result of its own tool is from outside, too.
        self.tainted = request.tainted or any(message.role == "tool" for message in request.messages)

    async def run_all(self, calls: Sequence[Call], tools: Sequence[Tool]) -> list[Outcome]:
        """Their outcomes, in order. What one may do was settled before any of them ran."""
        known = {tool.name: tool for tool in tools}
        tainted = self.tainted
        running = [self._run(call, known.get(call.name), list(known), tainted=tainted) for call in calls]
        return list(await asyncio.gather(*running))

    async def note_none(self, text: str, tools: Sequence[Tool], outcome: Outcome = UNREADABLE) -> None:
        """A model that was asked for a call and wrote none: the run goes on, and says so."""
        name = tools[0].name if len(tools) == 1 else "unknown"
        await self._tell(Call(f"call_{self._numbered}", name, None, text), outcome, 0.0)

    async def note_too_many(self, calls: Sequence[Call]) -> None:
        """Calls of a model that has had all its rounds, and wrote one instead of an answer."""
        for call in calls:
            await self._tell(call, TOO_MANY_ROUNDS, 0.0)

    async def _run(self, call: Call, tool: Tool | None, known: list[str], *, tainted: bool) -> Outcome:
        self._numbered += 1
        began = time.perf_counter()
        await self.turn.sink.put(ToolCalled(call))
        allowed = self.turn.request.tools.allowed
        outcome = allowed.refuses(call, tool, known, tainted=tainted, asked=self.turn.request.question)
        try:
            if outcome is None and tool is not None:
                outcome = await self._step(call, tool)
        except asyncio.CancelledError:
            self._keep(call, Outcome("", "cancelled"), began, "cancelled")
            raise
        assert outcome is not None  # noqa: S101 - refused, or made
        self.tainted = self.tainted or outcome.untrusted
        await self._tell(call, outcome, began)
        return outcome

    async def _step(self, call: Call, tool: Tool) -> Outcome:
        """The call as a step: what it raises becomes what the model reads."""
        turn, request = self.turn, self.turn.request

        async def effect() -> Outcome:
            enter(request.context)  # a step of a flow run begins in that thread's own
            return await turn.toolbox.call(call, tool, around)

        try:
            async with turn.transcript.step(tool.name, kind="tool_call") as note:
                note.detail |= {"call_id": call.id}
                around = Surroundings(
                    request.context, request.conversation_id, request.locale, turn.transcript, self.steps,
                    turn.written, request.ran_code_before, note.id,
                )  # fmt: skip
                if tool.name == RUN_PYTHON:  # its own steps are tasks: opening the sandbox, running, collecting
                    outcome = await effect()
                else:
                    outcome = await self.steps.run(
                        f"tool {tool.name}",
                        effect,
                        timeout_seconds=tool.timeout_seconds + min(MARGIN_SECONDS, tool.timeout_seconds),
                        retries=retries_of(tool),
                    )
                if outcome.error_code is not None:
                    note.failure = outcome.error_code, outcome.text[:500]
        except ApiError as error:
            return Outcome(f"{tool.name} failed: {error.detail}", error.code)
        except Exception:  # a fault of ours ends neither the turn nor the calls beside it
            log.exception("a tool failed unexpectedly", extra={"tool": tool.name})
            return Outcome(f"{tool.name} failed unexpectedly.", "tool_failed_unexpectedly")
        return outcome

    async def _tell(self, call: Call, outcome: Outcome, began: float) -> None:
        record = self._keep(call, outcome, began, "failed" if outcome.failed else "completed")
        await self.turn.sink.put(ToolReturned(record))

    def _keep(
        self, call: Call, outcome: Outcome, began: float, status: Literal["completed", "failed", "cancelled"]
    ) -> ToolCallRecord:
        error = {"code": outcome.error_code, "detail": outcome.text[:2000]} if outcome.error_code else None
        record = ToolCallRecord(
            id=call.id,
            name=call.name,
            arguments=dict(call.arguments) if call.arguments is not None else {"unreadable": call.raw[:2000]},
            status=status,
            result=outcome.text,
            error=error,
            duration_ms=round((time.perf_counter() - began) * 1000, 1) if began else 0.0,
            untrusted=outcome.untrusted,
        )
        self.turn.transcript.tool_calls.append(record)
        return record


def retries_of(tool: Tool) -> Retries:
    """Only what may be repeated, and only when its server is the reason."""
    return Retries(RETRIES, worth_repeating) if tool.idempotent else NO_RETRIES


def worth_repeating(error: BaseException) -> bool:
    return isinstance(error, Unavailable) and not isinstance(error, DeadlineExceeded)
