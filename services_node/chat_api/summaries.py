"""After a turn: whether its conversation's older part is summarised, as a run of its own in the background."""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import TYPE_CHECKING, Any

from db.records import NewRun
from flows.conduct import Ended
from flows.summary import KIND, SummaryLimits, SummaryRequest, SummaryWork, is_due
from wire.context import RequestContext
from wire.errors import ApiError
from wire.ids import uuid7
from wire.principals import Principal
from wire.trace import TraceContext

if TYPE_CHECKING:
    from services_node.chat_api.parts import Parts

log = logging.getLogger("services_node.summaries")

READ_MESSAGES = 200  # of the conversation; what is older than these has a summary already, or gets none


class Summaries:
    """One at a time a conversation. `parts` is set once they are made."""

    def __init__(self, limits: SummaryLimits) -> None:
        self.parts: Parts | None = None
        self._limits = limits
        self._of: dict[uuid.UUID, asyncio.Task[None]] = {}

    def consider(self, run: NewRun, ended: Ended[Any]) -> None:
        """Begins one after a chat turn that calls for it. Returns at once."""
        conversation_id = run.conversation_id
        if run.kind != "chat" or ended.status != "completed" or conversation_id is None or self.parts is None:
            return
        if conversation_id in self._of or not is_due(ended.account, self._limits):
            return
        making = asyncio.create_task(self._make(self.parts, run, conversation_id, ended.account.model or "auto"))
        self._of[conversation_id] = making
        making.add_done_callback(lambda _: self._of.pop(conversation_id, None))

    async def stop(self) -> None:
        for making in self._of.values():
            making.cancel()

    async def _make(self, parts: Parts, turn: NewRun, conversation_id: uuid.UUID, model: str) -> None:
        context = RequestContext(uuid7(), TraceContext.new(), Principal(turn.owner), parent_run_id=turn.id)
        try:
            parts.conductor.admit(KIND)
            history = await parts.turns.history(conversation_id, turn.owner, READ_MESSAGES)

            async def keep(summary: str, until: int) -> bool:
                return await parts.conversations.summarise(conversation_id, turn.owner, summary, until)

            request = SummaryRequest(context, turn.owner, conversation_id, model, history)
            work = SummaryWork(request, parts.models, parts.prompts, self._limits, keep)
            run = NewRun(
                id=context.run_id,
                owner=turn.owner,
                kind=KIND,
                conversation_id=conversation_id,
                new_conversation=False,
                title="",
                trace_id=context.trace.trace_id,
                stack_id=parts.stack_id,
                instance_id=parts.instance_id,
                requested_model=model,
                messages=(),
                parent_id=turn.id,
                origin=turn.origin,
            )
            await parts.conductor.begin(work, run, streaming=False).ended()
        except ApiError as error:  # busy, away, or the conversation has gone: a later turn asks again
            log.info("a conversation was not summarised", extra={"reason": error.code})
