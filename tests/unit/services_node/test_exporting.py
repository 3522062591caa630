"""A conversation as one document, of rows that are faked."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from db.conversations import Conversations
from db.records import ConversationRecord, MessageRecord, ToolCallRecord
from db.runs import Runs
from services_node.chat_api.exporting import Export

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
FOUND = ConversationRecord(uuid.UUID(int=1), "¿lluvia?", NOW, NOW, None)


class Rows:
    """Conversations and runs at once, with so many messages and no run."""

    def __init__(self, *messages: MessageRecord) -> None:
        self._messages = messages

    async def messages_after(self, _id: object, _owner: str, position: int, *, limit: int) -> list[MessageRecord]:
        return [one for one in self._messages if one.position > position][:limit]

    async def page(self, *_: Any, **__: Any) -> list[Any]:
        return []


def export(*messages: MessageRecord) -> Export:
    rows = Rows(*messages)
    return Export(cast(Conversations, rows), cast(Runs, rows), FOUND, "ana")


def said(position: int, content: str, **known: Any) -> MessageRecord:
    fields: dict[str, Any] = {"role": "assistant", "model": "m", "complete": True} | known
    return MessageRecord(
        id=uuid.UUID(int=position), content=content, run_id=None, created_at=NOW, position=position, **fields
    )


async def whole(pieces: Any) -> str:
    return "".join([piece async for piece in pieces])


@pytest.mark.parametrize("count", [0, 1, 120])
async def test_json_has_every_message_and_is_json(count: int) -> None:
    document = json.loads(await whole(export(*(said(n + 1, f"m{n}") for n in range(count))).as_json()))
    assert [one["content"] for one in document["messages"]] == [f"m{n}" for n in range(count)]
    assert document["runs"] == [] and document["conversation"]["title"] == "¿lluvia?"


async def test_what_a_tool_said_cannot_end_its_block() -> None:
    call = ToolCallRecord("c", "t", {}, "completed", "```\n# not a heading\n````", None, 2, untrusted=True)
    text = await whole(export(said(1, "fin", complete=False, tool_calls=(call,))).as_markdown())
    assert "## Assistant (m), 2026-01-02 03:04 UTC, cut short\n" in text
    assert "Tool `t`: completed in 2 ms, from outside" in text
    assert "`````\n```\n# not a heading\n````\n`````\n\nfin\n" in text
