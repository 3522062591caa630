"""What the tests of the door say by the SDK, and what they look at afterwards."""

from __future__ import annotations

from typing import Any

import httpx
from installation import Installation
from openai.types.chat import ChatCompletionMessageParam

LAMP: Any = {
    "type": "function",
    "function": {"name": "lamp", "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}}},
}
FLAT_LAMP: Any = {"type": "function", **LAMP["function"], "strict": False}
CALLS_LAMP = 'enciende la luz tokens=1 call=lamp{"on": true}'
SUM = 'How much is 17 * 23? tokens=1 call=calculate{"expression": "17*23"}'


def user(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def told(completion: Any) -> dict[str, Any]:
    """What is ours, beside OpenAI's."""
    found = completion.model_extra["capibara6"]
    assert isinstance(found, dict)
    return found


def asked(stack: Installation) -> dict[str, Any]:
    """The last request that the model got."""
    body = httpx.get(f"{stack.url('model-server')}/watch").json()["seen"][-1]["body"]
    assert isinstance(body, dict)
    return body


def read_by(stack: Installation) -> list[dict[str, Any]]:
    """Its messages, without the system's."""
    return [one for one in asked(stack)["messages"] if one["role"] != "system"]


def kept(api: httpx.Client, conversation_id: str) -> list[tuple[str, str]]:
    found = api.get(f"/api/conversations/{conversation_id}").json()
    return [(one["role"], one["content"]) for one in found["messages"]]


def open_streams(stack: Installation) -> int:
    return int(httpx.get(f"{stack.url('model-server')}/watch").json()["open"])
