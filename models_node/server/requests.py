"""Reading and checking request bodies: as much as this server needs to know, the rest is the engine's to judge.

A body is parsed once, as plain JSON; it is never turned into a model of the whole API, so that whatever vLLM
understands passes through.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.requests import Request

from models_node.catalogue import ModelEntry
from models_node.errors import prompt_too_long
from models_node.residency.decide import Priority
from models_node.routing.router import RoutingQuery
from wire.errors import InvalidRequest, ValidationFailed

PRIORITY_HEADER = "x-capibara6-priority"
# No vocabulary we know has a longer token than 128 characters (runs of spaces, in tiktoken's and Qwen's).
LONGEST_TOKEN_CHARS = 256
TRUNCATING = ("truncate_prompt_tokens", "truncation")  # who asks for it gets a prompt that fits
IMAGE_PARTS = frozenset({"image_url", "input_image", "image", "image_pil", "image_embeds"})


@dataclass(frozen=True, slots=True)
class Body:
    """A checked body. raw: as it came; content: what it says; stream: whether the answer is to be streamed."""

    raw: bytes
    content: dict[str, Any]

    @property
    def model(self) -> str | None:
        model = self.content.get("model")
        return model if isinstance(model, str) else None

    @property
    def stream(self) -> bool:
        return self.content.get("stream") is True

    def addressed_to(self, model: str, **fields: Any) -> bytes:
        """The body for a backend that knows the model as `model`: untouched where it says so already. fields: what is
        said beside it, whatever the client said.
        """
        said = {"model": model, **fields}
        if all(self.content.get(name) == value for name, value in said.items()):
            return self.raw
        return json.dumps({**self.content, **said}, separators=(",", ":")).encode()


async def read_body(request: Request) -> Body:
    """The request's JSON object, with `model` and `stream` checked.

    Raises InvalidRequest (400) for what is not a JSON object, ValidationFailed (422) naming a field of a wrong type.
    """
    return parse_body(await request.body())


def parse_body(raw: bytes) -> Body:
    try:
        content = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidRequest(f"the body is not valid JSON{reason}", code="malformed_json") from None
    if not isinstance(content, dict):
        raise InvalidRequest(f"the body must be a JSON object, not {_kind(content)}", code="invalid_body")
    _typed(content, "model", str, 'a string: a model\'s id, or "auto"')
    _typed(content, "stream", bool, "true or false")
    return Body(raw, content)


def check_messages(body: Body) -> None:
    """`messages` must be a list of objects with a role. Raises InvalidRequest or ValidationFailed naming it."""
    messages = body.content.get("messages")
    if messages is None:
        raise InvalidRequest("`messages` is missing", code="missing_field", param="messages")
    if not isinstance(messages, list):
        raise ValidationFailed(f"`messages` must be a list, not {_kind(messages)}", param="messages")
    if not messages:
        raise InvalidRequest("`messages` is empty", code="empty_messages", param="messages")
    for index, message in enumerate(messages):
        name = f"messages.{index}"
        if not isinstance(message, dict):
            raise ValidationFailed(f"`{name}` must be an object, not {_kind(message)}", param=name)
        if not isinstance(message.get("role"), str):
            raise ValidationFailed(f"`{name}.role` must be a string", param=f"{name}.role")
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            raise ValidationFailed(
                f"`{name}.content` must be a string or a list of parts, not {_kind(content)}", param=f"{name}.content"
            )


def check_present(body: Body, name: str) -> None:
    if body.content.get(name) is None:
        raise InvalidRequest(f"`{name}` is missing", code="missing_field", param=name)


def read_priority(request: Request) -> Priority:
    """The header `x-capibara6-priority`; interactive where it is missing. Raises InvalidRequest naming it."""
    asked = request.headers.get(PRIORITY_HEADER)
    if asked is None:
        return Priority.INTERACTIVE
    try:
        return Priority(asked.strip().lower())
    except ValueError:
        known = " or ".join(priority.value for priority in Priority)
        raise InvalidRequest(
            f"the header {PRIORITY_HEADER} must be {known}, not {asked!r}",
            code="invalid_priority",
            param=PRIORITY_HEADER,
        ) from None


def check_length(body: Body, entry: ModelEntry) -> None:
    """Refuses what cannot fit whatever the tokenizer, before anything is loaded for it. Raises InvalidRequest."""
    if len(body.raw) <= entry.context_length or any(body.content.get(name) for name in TRUNCATING):
        return
    at_least = fewest_tokens(body.content)
    if at_least > entry.context_length:
        raise prompt_too_long(entry.id, entry.context_length, at_least)


def fewest_tokens(content: dict[str, Any]) -> int:
    """Tokens that the longest prompt of a request has at least: its numbers of tokens, or its text in the longest
    tokens there are. A list of prompts is as many prompts; messages are one.
    """
    prompts: list[int] = []
    for name in ("prompt", "input"):
        value = content.get(name)
        if isinstance(value, str):
            prompts.append(-(-len(value) // LONGEST_TOKEN_CHARS))
        elif isinstance(value, list):
            if value and all(isinstance(token, int) for token in value):
                prompts.append(len(value))
            for item in value:
                if isinstance(item, str):
                    prompts.append(-(-len(item) // LONGEST_TOKEN_CHARS))
                elif isinstance(item, list):
                    prompts.append(len(item))
    for name in ("messages", "input"):
        value = content.get(name)
        messages = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
        said = sum(len(text) for message in messages for text in _parts(message.get("content"))[0])
        prompts.append(-(-said // LONGEST_TOKEN_CHARS))
    return max(prompts, default=0)


def routing_query(body: Body) -> RoutingQuery:
    """What a router may look at: the model asked for, what the user said, images, tools, how much text there is."""
    content = body.content
    turns: list[str] = []
    images = characters = 0
    for name in ("messages", "input", "prompt"):
        value = content.get(name)
        for item in value if isinstance(value, list) else [value]:
            said = item.get("content") if isinstance(item, dict) else item
            parts, seen = _parts(said)
            text = "\n".join(parts)
            characters += len(text)
            if not isinstance(item, dict) or item.get("role", "user") == "user":
                turns += [text] if text else []
                images += seen
    limits = (content.get(name) for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"))
    answer = next((limit for limit in limits if isinstance(limit, int) and limit > 0), None)
    return RoutingQuery(body.model, tuple(turns), images, bool(content.get("tools")), characters, answer)


def _parts(content: object) -> tuple[list[str], int]:
    """Texts and number of images in a message's content."""
    if isinstance(content, str):
        return [content], 0
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    return texts, sum(part.get("type") in IMAGE_PARTS for part in parts)


def _typed(content: dict[str, Any], name: str, kind: type, wanted: str) -> None:
    value = content.get(name)
    if value is not None and not isinstance(value, kind):
        raise ValidationFailed(f"`{name}` must be {wanted}, not {_kind(value)}", param=name)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
