"""A turn told as OpenAI's response: the object and its items, of a turn just ended or of a run's rows. Pure."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from db.records import MessageRecord, RunRecord, ToolCallRecord
from flows.tools.calls import Call
from services_node.chat_api.openai_door.completions import story
from services_node.chat_api.openai_door.names import conversation_name, given_call, response_id
from services_node.chat_api.openai_door.reading import ASSISTANT
from services_node.chat_api.openai_door.schemas import ResponseRequest
from services_node.chat_api.telling import TurnEnded
from wire.errors import ApiError

Item = dict[str, Any]
# A response's `error` and `status` know few words; ours stand beside them, in `capibara6`.
_STATUSES = {"queued": "queued", "running": "in_progress", "completed": "completed", "cancelled": "cancelled"}
_CANCELLED = {"client_disconnected", "cancelled_by_client", "cancelled_in_prefect", "parent_cancelled"}


@dataclass(frozen=True, slots=True)
class Told:
    """Which response it is, and what it repeats of its request. asked: None where that is no longer known."""

    run_id: uuid.UUID
    conversation_id: uuid.UUID | None
    asked: ResponseRequest | None = None
    created_at: int = field(default_factory=lambda: int(time.time()))

    def response(self, status: str, output: Sequence[Item] = (), *, model: str | None = None, **more: Any) -> Item:
        asked = self.asked
        named = (asked.model if asked is not None else None) or ASSISTANT
        text = asked.text.format if asked is not None and asked.text is not None else None
        tools = asked.tools if asked is not None else None
        repeated: Item = {} if asked is None else asked.model_dump(
            include={"instructions", "previous_response_id", "temperature", "top_p", "max_output_tokens", "user"}
        )  # fmt: skip
        return {
            "id": response_id(self.run_id),
            "object": "response",
            "created_at": self.created_at,
            "status": status,
            "background": False,
            "conversation": {"id": conversation_name(self.conversation_id)} if self.conversation_id else None,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": None,
            "metadata": (asked.metadata if asked is not None else None) or {},
            "model": model or named,
            "output": list(output),
            "parallel_tool_calls": asked is None or asked.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": self.conversation_id is not None,
            "temperature": None,
            "text": {"format": text or {"type": "text"}},
            "tool_choice": (asked.tool_choice if asked is not None else None) or "auto",
            "tools": [told_tool(tool.model_dump(exclude_none=True)) for tool in tools or ()],
            "top_p": None,
            "truncation": "auto",
            "usage": None,
            **repeated,
            **more,
        }

    def ended(self, ended: TurnEnded, output: Sequence[Item]) -> Item:
        """The response of a turn that has ended, however it did."""
        said, error = ended.account, ended.error
        cut = error is None and said.finish_reason == "length" and not said.client_calls
        status = status_of(error) if error is not None else "incomplete" if cut else "completed"
        more: Item = {
            "completed_at": int(time.time()) if error is None else None,
            "usage": usage(said.prompt_tokens, said.completion_tokens),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "capibara6": story(self.run_id, self.conversation_id, ended),
        }
        if error is not None:
            more["error"] = told_error(error.status, error.detail)
            more["capibara6"]["error"] = {"code": error.code, "param": error.param, "status": error.status}
        return self.response(status, output, model=said.model, **more)


def told_tool(tool: Item) -> Item:
    """A tool as the response repeats it: OpenAI's flat form."""
    flat: Item = tool | tool.pop("function", {})
    if "name" not in flat:
        return flat
    return flat | {"parameters": flat.get("parameters"), "strict": flat.get("strict")}


def status_of(error: ApiError) -> str:
    return "cancelled" if error.code in _CANCELLED else "failed"


def told_error(status: int | None, detail: str) -> Item:
    """The error in the few words that OpenAI has for one."""
    if status == 429:
        return {"code": "rate_limit_exceeded", "message": detail}
    return {
        "code": "invalid_prompt" if status is not None and 400 <= status < 500 else "server_error",
        "message": detail,
    }


def usage(prompt: int | None, completion: int | None) -> Item:
    """Nothing is known here of caches and reasoning, which OpenAI's shape demands figures of."""
    return {
        "input_tokens": prompt or 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": completion or 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": (prompt or 0) + (completion or 0),
    }


# Items


def item_id(kind: str, run_id: uuid.UUID, number: int) -> str:
    return f"{kind}_{run_id.hex}_{number}"


def part_of(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def message_item(name: str, text: str | None, status: str = "completed") -> Item:
    """text: None for one that has no content yet."""
    content = [part_of(text)] if text is not None else []
    return {"type": "message", "id": name, "role": "assistant", "status": status, "content": content}


def function_item(name: str, run_id: uuid.UUID, call: Call) -> Item:
    function = call.openai()["function"]
    return {
        "type": "function_call",
        "id": name,
        "call_id": given_call(run_id, call.id),
        "status": "completed",
        **function,
    }


def mcp_item(name: str, record: ToolCallRecord) -> Item:
    """A tool of the server's, which ran here."""
    statuses = {"completed": "completed", "failed": "failed", "cancelled": "incomplete"}
    content = [{"type": "text", "text": record.result or ""}]
    failed = {"type": "mcp_tool_execution_error", "content": content} if record.status == "failed" else None
    return mcp_call(name, record.name, json.dumps(record.arguments, ensure_ascii=False)) | {
        "output": None if failed else record.result,
        "error": failed,
        "status": statuses[record.status],
    }


def mcp_call(name: str, tool: str, arguments: str) -> Item:
    """The same while it runs."""
    return {
        "type": "mcp_call",
        "id": name,
        "server_label": ASSISTANT,
        "name": tool,
        "arguments": arguments,
        "approval_request_id": None,
        "output": None,
        "error": None,
        "status": "in_progress",
    }


def output_of(run_id: uuid.UUID, records: Sequence[ToolCallRecord], text: str, calls: Sequence[Call]) -> list[Item]:
    """A response's items where their order within the turn is not known: tools, the answer, calls for the client."""
    items = [mcp_item(item_id("mcp", run_id, number), record) for number, record in enumerate(records)]
    if text or not calls:
        items.append(message_item(item_id("msg", run_id, len(items)), text))
    for call in calls:
        items.append(function_item(item_id("fc", run_id, len(items)), run_id, call))
    return items


def whole(told: Told, ended: TurnEnded) -> Item:
    """The response of a turn that went well, told at once."""
    said = ended.account
    output = output_of(told.run_id, said.tool_calls, said.text, said.client_calls)
    response = told.ended(ended, output)
    if response["status"] == "incomplete":
        output[-1]["status"] = "incomplete"
    return response


def stored(run: RunRecord, said: Sequence[MessageRecord], calls: Sequence[Call]) -> Item:
    """The response of a run, from its rows. said: the messages that were kept with it."""
    told = Told(run.id, run.conversation_id, created_at=int(run.created_at.timestamp()))
    answers = [message for message in said if message.role == "assistant"]
    records = [record for message in answers for record in message.tool_calls]
    text = "".join(message.content for message in answers)
    output = output_of(run.id, records, text, calls) if answers or calls else []
    for item in output:
        if item["type"] == "message" and not all(message.complete for message in answers):
            item["status"] = "incomplete"
    status = _STATUSES.get(run.status, "failed")
    failed = told_error(None, run.error_detail or run.status) if status in {"failed", "cancelled"} else None
    kept: Item = {
        "run_id": str(run.id),
        "conversation_id": str(run.conversation_id) if run.conversation_id else None,
        "model": run.model,
        "route": run.route,
        "tool_calls": [{"name": record.name, "status": record.status} for record in records],
    }
    if failed is not None:
        kept["error"] = {"code": run.error_code, "param": None, "status": None}
    return told.response(
        status,
        output,
        model=run.model or run.requested_model,
        error=failed,
        usage=usage(run.prompt_tokens, run.completion_tokens) if run.prompt_tokens is not None else None,
        completed_at=int(run.ended_at.timestamp()) if run.ended_at and status == "completed" else None,
        capibara6=kept,
    )
