"""A turn told as the stream of a response: OpenAI's event types, in their order, numbered. Pure.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

import json
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from db.records import ToolCallRecord
from flows.conduct import Ended
from flows.tools.calls import Call
from flows.turn import Started, Token, ToolCalled, ToolReturned, TurnEvent
from services_node.chat_api.openai_door.responses import (
    Item,
    Told,
    function_item,
    item_id,
    mcp_call,
    mcp_item,
    message_item,
    part_of,
)
from services_node.chat_api.telling import TurnEnded
from wire.sse import encode

_LAST = {"completed": "response.completed", "incomplete": "response.incomplete"}


@dataclass(slots=True)
class ResponseEvents:
    """One response's stream. output: its items so far; a message is open while text comes, a tool while it runs."""

    told: Told
    output: list[Item] = field(default_factory=list)
    _events: list[Item] = field(default_factory=list)
    _numbered: int = 0
    _begun: bool = False
    _message: int | None = None
    _text: list[str] = field(default_factory=list)
    _running: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    _model: str | None = None

    def written(self, happened: TurnEvent | TurnEnded) -> bytes:
        """The events as they go out: named, as OpenAI's are."""
        return b"".join(b"event: " + one["type"].encode() + b"\n" + encode(one) for one in self.tell(happened))

    def tell(self, happened: TurnEvent | TurnEnded) -> list[Item]:
        if isinstance(happened, Started):
            self._model = happened.model or self._model
        self._begin()
        match happened:
            case Token(text):
                self._add_text(text)
            case ToolCalled(call):
                self._open_tool(call)
            case ToolReturned(record):
                self._close_tool(record)
            case Ended():
                self._end(happened)
        events, self._events = self._events, []
        return events

    def _tell(self, kind: str, **fields: Any) -> None:
        self._events.append({"type": kind, "sequence_number": self._numbered, **fields})
        self._numbered += 1

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._tell("response.created", response=self.told.response("in_progress", model=self._model))
            self._tell("response.in_progress", response=self.told.response("in_progress", model=self._model))

    def _name(self, kind: str) -> str:
        return item_id(kind, self.run_id, len(self.output))

    @property
    def run_id(self) -> uuid.UUID:
        return self.told.run_id

    def _open(self, item: Item) -> int:
        self.output.append(item)
        index = len(self.output) - 1
        self._tell("response.output_item.added", output_index=index, item=item)
        return index

    def _close(self, index: int, item: Item) -> None:
        self.output[index] = item
        self._tell("response.output_item.done", output_index=index, item=item)

    # The answer

    def _open_message(self) -> int:
        if self._message is None:
            name = self._name("msg")
            self._message = self._open(message_item(name, None, "in_progress"))
            self._tell("response.content_part.added", **self._part_place(), part=part_of(""))
        return self._message

    def _part_place(self) -> Item:
        assert self._message is not None  # noqa: S101 - asked for within one
        return {"item_id": self.output[self._message]["id"], "output_index": self._message, "content_index": 0}

    def _add_text(self, text: str) -> None:
        self._open_message()
        self._text.append(text)
        self._tell("response.output_text.delta", **self._part_place(), delta=text, logprobs=[])

    def _close_message(self, status: str = "completed") -> None:
        if self._message is None:
            return
        index, place, text = self._message, self._part_place(), "".join(self._text)
        self._tell("response.output_text.done", **place, text=text, logprobs=[])
        self._tell("response.content_part.done", **place, part=part_of(text))
        self._close(index, message_item(place["item_id"], text, status))
        self._message, self._text = None, []

    # Tools of ours, which run within the turn

    def _open_tool(self, call: Call) -> None:
        self._close_message()
        arguments = json.dumps(call.arguments, ensure_ascii=False) if call.arguments is not None else call.raw
        name = self._name("mcp")
        index = self._open(mcp_call(name, call.name, ""))
        place = {"item_id": name, "output_index": index}
        self._tell("response.mcp_call.in_progress", **place)
        self._tell("response.mcp_call_arguments.delta", **place, delta=arguments)
        self._tell("response.mcp_call_arguments.done", **place, arguments=arguments)
        self.output[index] = mcp_call(name, call.name, arguments)
        self._running[call.id].append(index)

    def _close_tool(self, record: ToolCallRecord) -> None:
        if not self._running[record.id]:  # noted without having been told of: it could not be read
            self._open_tool(Call(record.id, record.name, record.arguments, ""))
        index = self._running[record.id].pop(0)
        item = mcp_item(self.output[index]["id"], record)
        how = "completed" if record.status == "completed" else "failed"
        self._tell(f"response.mcp_call.{how}", item_id=item["id"], output_index=index)
        self._close(index, item)

    # The end

    def _end(self, ended: TurnEnded) -> None:
        said, error = ended.account, ended.error
        cut = error is not None or (said.finish_reason == "length" and not said.client_calls)
        if error is None and not said.client_calls and not any(item["type"] == "message" for item in self.output):
            self._open_message()  # an answer without a word is one still
        self._close_message("incomplete" if cut else "completed")
        for indices in self._running.values():
            for index in indices:
                self._close(index, self.output[index] | {"status": "incomplete"})
        for call in said.client_calls:
            self._ask_client(call)
        response = self.told.ended(ended, self.output)
        self._tell(_LAST.get(response["status"], "response.failed"), response=response)

    def _ask_client(self, call: Call) -> None:
        item = function_item(self._name("fc"), self.run_id, call)
        index = self._open(item | {"arguments": "", "status": "in_progress"})
        place = {"item_id": item["id"], "output_index": index}
        self._tell("response.function_call_arguments.delta", **place, delta=item["arguments"])
        done = {"name": item["name"], "arguments": item["arguments"]}
        self._tell("response.function_call_arguments.done", **place, **done)
        self._close(index, item)
