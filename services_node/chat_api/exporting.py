"""A conversation as one document, JSON or Markdown: written piece by piece, so that a long one needs no more memory."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from db.conversations import Conversations
from db.records import ConversationRecord, MessageRecord, RunFilter, ToolCallRecord
from db.runs import Runs
from services_node.chat_api.run_schemas import RunOut, StepOut
from services_node.chat_api.schemas import ConversationOut, MessageOut

FORMAT = "capibara6-conversation/1"
PAGE = 50
_SPEAKERS = {"system": "System", "user": "User", "assistant": "Assistant"}


class Export:
    """A conversation to write down. What comes in while it is written may or may not be in it."""

    def __init__(self, conversations: Conversations, runs: Runs, found: ConversationRecord, owner: str) -> None:
        self._conversations = conversations
        self._runs = runs
        self._found = found
        self._owner = owner

    async def as_json(self) -> AsyncIterator[str]:
        """One object: `format`, `exported_at`, `conversation`, `messages` and `runs`, both oldest first."""
        head = {
            "format": FORMAT,
            "exported_at": datetime.now(UTC).isoformat(),
            "conversation": ConversationOut.of(self._found).model_dump(mode="json"),
        }
        yield json.dumps(head, ensure_ascii=False, indent=1)[:-2] + ',\n "messages": ['
        async for piece in _listed(self._message_objects()):
            yield piece
        yield '],\n "runs": ['
        async for piece in _listed(self._run_objects()):
            yield piece
        yield "]\n}\n"

    async def as_markdown(self) -> AsyncIterator[str]:
        """What was said, with the tools that were used; no runs."""
        yield f"# {self._found.title}\n"
        async for message in self._messages():
            yield _as_markdown(message)

    async def _messages(self) -> AsyncIterator[MessageRecord]:
        position = 0
        while page := await self._conversations.messages_after(self._found.id, self._owner, position, limit=PAGE):
            for message in page:
                yield message
            position = page[-1].position

    async def _message_objects(self) -> AsyncIterator[dict[str, Any]]:
        async for message in self._messages():
            yield MessageOut.of(message).model_dump(mode="json")

    async def _run_objects(self) -> AsyncIterator[dict[str, Any]]:
        after: tuple[datetime, uuid.UUID] | None = None
        wanted = RunFilter(conversation_id=self._found.id)
        while page := await self._runs.page(self._owner, limit=PAGE, wanted=wanted, after=after, oldest_first=True):
            steps = await self._runs.steps_of([run.id for run in page])
            for run in page:
                told = RunOut.of(run).model_dump(mode="json")
                yield told | {"steps": [StepOut.model_validate(one).model_dump(mode="json") for one in steps[run.id]]}
            after = page[-1].created_at, page[-1].id


async def _listed(objects: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    """The inside of a JSON list, one object a line."""
    between = "\n  "
    async for one in objects:
        yield between + json.dumps(one, ensure_ascii=False)
        between = ",\n  "


def _as_markdown(message: MessageRecord) -> str:
    by = f" ({message.model})" if message.model else ""
    cut = "" if message.complete else ", cut short"
    moment = message.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    head = f"\n## {_SPEAKERS[message.role]}{by}, {moment}{cut}\n\n"
    return head + "".join(map(_call_as_markdown, message.tool_calls)) + message.content.rstrip() + "\n"


def _call_as_markdown(call: ToolCallRecord) -> str:
    outside = ", from outside" if call.untrusted else ""
    arguments = json.dumps(call.arguments, ensure_ascii=False, indent=1)
    said = call.result if call.error is None else f"{call.error.get('code')}: {call.error.get('detail')}"
    told = f"Tool `{call.name}`: {call.status} in {call.duration_ms:.0f} ms{outside}\n\n{_fenced(arguments, 'json')}"
    return told + (_fenced(said) if said else "")


def _fenced(text: str, language: str = "") -> str:
    """A block of code that nothing in the text can end."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}\n\n"
