"""What clients send and get. Unknown fields are ignored, as older clients send some; known ones have their type."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    field_validator,
)

from db.records import (
    ConversationRecord,
    FileRecord,
    MessageRecord,
)
from flows.code_told import file_url
from services_node.chat_api.speak_schemas import Speak, true_or_an_object

MAX_MESSAGES = 200
MAX_TITLE_CHARS = 200
MAX_QUERY_CHARS = 1000
MAX_TOOLS = 64
Number = Annotated[float, Field(strict=True)]
Whole = Annotated[int, Field(strict=True)]


def storable(text: str) -> str:
    """Text that Postgres and JSON can hold: no NUL, no half of a surrogate pair."""
    if "\x00" in text:
        raise ValueError("contains a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not valid Unicode (half of a surrogate pair)") from None
    return text


Text = Annotated[str, Field(strict=True)]


def one_line(text: str) -> str:
    """A title or a query: one line that says something."""
    line = " ".join(storable(text).split())
    if not line:
        raise ValueError("is empty")
    return line


Line = Annotated[str, AfterValidator(one_line)]
Title = Annotated[Line, Field(strict=True, max_length=MAX_TITLE_CHARS)]


def names_of_tools(value: object) -> object:
    """True, false, or names; anything else is said in one message, not in one for each form it might have had."""
    names = value if isinstance(value, list) else []
    if value is not None and not isinstance(value, bool | list):
        raise ValueError("must be true, false, or a list of tools' names")
    if len(names) > MAX_TOOLS or not all(isinstance(name, str) and 0 < len(name) <= 200 for name in names):
        raise ValueError(f"must be at most {MAX_TOOLS} names of tools, each of 1 to 200 characters")
    return value


class MessageIn(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: Text

    _storable = field_validator("content")(storable)


class ChatRequest(BaseModel):
    """One turn of a chat: exactly one of `message`, `messages`, `prompt` (an older name of `message`).

    `messages` begins a conversation with all of them; with `conversation_id`, they are added to what is there.
    `context` (older clients) goes to the model before `message`, and is not kept. `tools`: false for none, or the names
    of those that may be used; those with side effects only where they are named. `speak`: the answer is spoken, too.
    """

    model_config = ConfigDict(extra="ignore")

    message: Text | None = None
    prompt: Text | None = None
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=MAX_MESSAGES)] | None = None
    context: Annotated[list[MessageIn], Field(max_length=MAX_MESSAGES)] | None = None
    model: Annotated[str, Field(strict=True, max_length=200)] | None = None
    conversation_id: uuid.UUID | None = None
    stream: StrictBool = False
    tools: Annotated[bool | list[str] | None, BeforeValidator(names_of_tools)] = None
    speak: Annotated[bool | Speak | None, BeforeValidator(true_or_an_object)] = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = None
    n_predict: Annotated[Whole, Field(ge=-1, le=1_000_000)] | None = None
    seed: Whole | None = None
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None

    _storable = field_validator("message", "prompt")(lambda text: text if text is None else storable(text))

    def options(self) -> dict[str, Any]:
        """What goes to the model as it is. `n_predict` is an older `max_tokens`; below 1 it means no limit."""
        limit = self.max_tokens or (self.n_predict if self.n_predict and self.n_predict > 0 else None)
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": limit,
            "seed": self.seed,
            "stop": self.stop,
        }
        return {name: value for name, value in given.items() if value is not None}


class ToolCallOut(BaseModel):
    """A tool that an answer used. error: `code` and `detail`. untrusted: its result comes from outside."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    arguments: dict[str, Any]
    status: Literal["completed", "failed", "cancelled"]
    result: str | None
    error: dict[str, Any] | None
    duration_ms: float
    untrusted: bool


class MessageOut(BaseModel):
    """complete: false for an answer that was cut short."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    role: str
    content: str
    model: str | None
    complete: bool
    run_id: uuid.UUID | None
    created_at: datetime
    tool_calls: list[ToolCallOut]

    @classmethod
    def of(cls, record: MessageRecord) -> MessageOut:
        return cls.model_validate(record)


class ConversationOut(BaseModel):
    """forked_from: the conversation whose messages it began with, while that is there."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    title: str
    created_at: datetime
    updated_at: datetime
    forked_from: uuid.UUID | None

    @classmethod
    def of(cls, record: ConversationRecord) -> ConversationOut:
        return cls.model_validate(record)


class ConversationPage(BaseModel):
    """next_cursor: give it as `cursor` to get the next page; null on the last one."""

    conversations: list[ConversationOut]
    next_cursor: str | None


class ConversationWithMessages(ConversationOut):
    messages: list[MessageOut]


class Rename(BaseModel):
    model_config = ConfigDict(extra="ignore")

    title: Title


class ForkRequest(BaseModel):
    """message_id: the last message that the new conversation has. title: the old one's where none is given."""

    model_config = ConfigDict(extra="ignore")

    message_id: uuid.UUID
    title: Title | None = None


class RegenerateRequest(BaseModel):
    """message_id: the answer to make again, which must be the last message. model, tools, speak: as a chat's."""

    model_config = ConfigDict(extra="ignore")

    message_id: uuid.UUID | None = None
    model: Annotated[str, Field(strict=True, max_length=200)] | None = None
    tools: Annotated[bool | list[str] | None, BeforeValidator(names_of_tools)] = None
    speak: Annotated[bool | Speak | None, BeforeValidator(true_or_an_object)] = None
    stream: StrictBool = False


class FoundMessage(BaseModel):
    """snippet: the place in the message, plain text with `**` around what was looked for. rank: 0 to 1."""

    model_config = ConfigDict(from_attributes=True)

    conversation_id: uuid.UUID
    title: str
    message_id: uuid.UUID
    role: str
    created_at: datetime
    snippet: str
    rank: float


class FoundMessages(BaseModel):
    """Best first."""

    results: list[FoundMessage]


class FileOut(BaseModel):
    """url: where its bytes are, on this API."""

    id: uuid.UUID
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    run_id: uuid.UUID | None
    conversation_id: uuid.UUID | None
    created_at: datetime
    url: str

    @classmethod
    def of(cls, record: FileRecord) -> FileOut:
        fields = {name: getattr(record, name) for name in cls.model_fields if name != "url"}
        return cls(**fields, url=file_url(record))


class FilePage(BaseModel):
    files: list[FileOut]
    next_cursor: str | None
