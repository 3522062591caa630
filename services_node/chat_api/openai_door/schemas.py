"""What OpenAI's clients send. Unknown fields are ignored; known ones have their type. What can't be done is refused
in words where it is read (`reading`), not here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from services_node.chat_api.schemas import Number, Text, Whole, storable

MAX_MESSAGES = 1000
MAX_TOOLS = 128
MAX_PARTS = 256

Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(strict=True, min_length=1, max_length=256)]
Limit = Annotated[Whole, Field(ge=1, le=1_000_000)]
MetadataValue = Annotated[str, Field(strict=True, max_length=512)]
Metadata = Annotated[dict[Annotated[str, Field(max_length=64)], MetadataValue], Field(max_length=16)]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="ignore")


class PartIn(_Sent):
    """A part of a message's content, of either API: `text`, `input_text`, `output_text`, `refusal`, or what is no
    text."""

    type: Text
    text: Text | None = None
    refusal: Text | None = None

    _storable = field_validator("text", "refusal")(lambda text: text if text is None else storable(text))


def _as_parts(content: Any) -> Any:
    """A text is one part; nothing is none."""
    if content is None:
        return []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


Parts = Annotated[list[PartIn], Field(max_length=MAX_PARTS), BeforeValidator(_as_parts)]


class FunctionIn(_Sent):
    name: Name
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolIn(_Sent):
    """A tool of either API: a function (nested or flat), or one of OpenAI's own."""

    type: Text = "function"
    function: FunctionIn | None = None
    name: Name | None = None
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    server_label: Text | None = None
    allowed_tools: Any = None


Tools = Annotated[list[ToolIn], Field(max_length=MAX_TOOLS)]


class CalledFunctionIn(_Sent):
    name: Name
    arguments: Text


class CalledIn(_Sent):
    id: Name
    type: Text = "function"
    function: CalledFunctionIn | None = None


class MessageIn(_Sent):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Parts = Field(default_factory=list)
    tool_calls: Annotated[list[CalledIn], Field(max_length=MAX_TOOLS)] | None = None
    tool_call_id: Name | None = None


class StreamOptionsIn(_Sent):
    include_usage: bool | None = None


class _Asked(_Sent):
    """What both APIs know."""

    model: Annotated[str, Field(strict=True, max_length=200)] | None = None
    stream: Flag | None = None
    store: Flag | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    tools: Tools | None = None
    tool_choice: Text | dict[str, Any] | None = None
    parallel_tool_calls: Flag | None = None
    metadata: Metadata | None = None
    user: Text | None = None


class CompletionRequest(_Asked):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=MAX_MESSAGES)]
    stream_options: StreamOptionsIn | None = None
    max_tokens: Limit | None = None
    max_completion_tokens: Limit | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    seed: Whole | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    response_format: dict[str, Any] | None = None
    n: Whole | None = None
    logprobs: Flag | None = None
    modalities: list[Text] | None = None
    audio: Any = None
    functions: Any = None
    function_call: Any = None
    web_search_options: Any = None


class ItemIn(_Sent):
    """An item of a response's input; one without a type is a message."""

    type: Text = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: Parts = Field(default_factory=list)
    call_id: Name | None = None
    name: Name | None = None
    arguments: Text | None = None
    output: Parts = Field(default_factory=list)

    @field_validator("type", mode="before")
    @classmethod
    def _message_by_default(cls, given: Any) -> Any:
        return "message" if given is None else given


def _as_items(given: Any) -> Any:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


class TextIn(_Sent):
    format: dict[str, Any] | None = None


class ResponseRequest(_Asked):
    """`POST /v1/responses`."""

    input: Annotated[list[ItemIn], Field(max_length=MAX_MESSAGES), BeforeValidator(_as_items)]
    instructions: Text | None = None
    previous_response_id: Text | None = None
    conversation: Text | dict[str, Any] | None = None
    max_output_tokens: Limit | None = None
    text: TextIn | None = None
    background: Flag | None = None
    top_logprobs: Whole | None = None
    prompt: Any = None

    _storable = field_validator("instructions")(lambda text: text if text is None else storable(text))
