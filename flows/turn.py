"""A chat turn's values: what it is asked, what it tells while it runs, and what is known of it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

from db.records import FileRecord, ToolCallRecord
from flows.audio import AudioFormat
from flows.tools.box import Toolbox
from flows.tools.calls import Call
from flows.tools.policy import BY_DEFAULT, Allowed
from flows.voice import Said, VoiceWish
from flows.work import Account, Sink
from wire.clients.models import ChatStream, Route
from wire.context import RequestContext
from wire.errors import ApiError

Locale = Literal["es", "en"]
TOOL_ERRORS = "CompletedWithToolErrors"  # Prefect's name of a turn that was answered though a tool failed
NOT_SPOKEN = "CompletedWithoutSpeech"  # the same of one whose speech failed
CLIENT_CALLS = "client_tools"  # the step in which a turn asks its client for calls; its detail is what they follow from


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """extra: what OpenAI's form has beside role and content (`tool_calls`, `tool_call_id`, `name`)."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def openai(self) -> dict[str, Any]:
        return {"role": self.role, "content": self.content, **self.extra}


@dataclass(frozen=True, slots=True)
class ToolsWanted:
    """wanted: whether the server's tools may be used at all. client: OpenAI functions that the client itself runs:
    calls of them end the turn and go back to it. options: go to the model with tools, and never without
    (`tool_choice`, `parallel_tool_calls`)."""

    wanted: bool = True
    allowed: Allowed = BY_DEFAULT
    client: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def client_names(self) -> frozenset[str]:
        return frozenset(str(tool["function"]["name"]) for tool in self.client)


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """tool_rounds: model calls of a turn that may ask for tools. calls_at_once: tool calls of one of them.
    tool_call_tokens: what a guided model may write for one. answer_tokens: room kept for an answer where the request
    names no limit."""

    tool_rounds: int
    calls_at_once: int
    tool_call_tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """What a turn is asked. `options` go to the model as they are (temperature, max_tokens, …); None model: auto.
    messages: oldest first, the newest is the question. summary: of what was said before them. context: whose request
    this is, its run and trace. tainted: text from outside is in what was said before.
    ran_code_before: in this conversation. stored: whether what is said may be kept. speak: how the answer is spoken,
    where it is."""

    context: RequestContext
    conversation_id: uuid.UUID
    model: str | None
    messages: tuple[ChatMessage, ...]
    options: Mapping[str, Any]
    timeout_seconds: float
    locale: Locale = "en"
    summary: str | None = None
    tools: ToolsWanted = ToolsWanted(wanted=False)
    ran_code_before: bool = False
    tainted: bool = False
    stored: bool = True
    speak: VoiceWish | None = None

    @property
    def question(self) -> str:
        """What the user said last."""
        return next((message.content for message in reversed(self.messages) if message.role == "user"), "")


class Models(Protocol):
    """`wire.clients.models.ModelServerClient`."""

    def stream_chat(
        self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[ChatStream]: ...

    async def route(self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Route: ...

    async def count_tokens(
        self, model: str, texts: list[str], headers: Mapping[str, str] | None = None
    ) -> list[int]: ...


class SystemPrompts(Protocol):
    """`flows.prompting.PromptFolder`."""

    def system(self, model: str, locale: Locale, *, small: bool) -> str: ...


@dataclass(frozen=True, slots=True)
class Started:
    """The model server took the request; `model` answers."""

    opens: ClassVar[bool] = True
    model: str
    route: str


@dataclass(frozen=True, slots=True)
class Token:
    opens: ClassVar[bool] = False
    text: str


@dataclass(frozen=True, slots=True)
class ToolCalled:
    opens: ClassVar[bool] = False
    call: Call


@dataclass(frozen=True, slots=True)
class ToolReturned:
    opens: ClassVar[bool] = False
    record: ToolCallRecord


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of the answer's audio, which can be played as it comes. text: the sentence that begins in it; empty where
    one goes on."""

    opens: ClassVar[bool] = False
    bulky: ClassVar[bool] = True
    audio: bytes
    format: AudioFormat
    sequence: int
    text: str


TurnEvent = Started | Token | ToolCalled | ToolReturned | Spoken


@dataclass(frozen=True, slots=True)
class SpokenAnswer:
    """How an answer was spoken. `empty`: there was nothing to say in it. cut: not all of it was spoken. error: of one
    that failed."""

    status: Literal["completed", "failed", "empty"]
    format: AudioFormat
    file: FileRecord | None = None
    seconds: float = 0.0
    said: Said | None = None
    cut: bool = False
    error: ApiError | None = None


@dataclass(slots=True)
class Transcript(Account):
    """What is known of a turn so far. Tokens are those of all its model calls. client_calls: what the client is asked
    to run itself. dropped: messages that did not fit into the model's context, which has context_tokens; read_tokens:
    of them, what the last model call read. answered: the answer is whole. speech: how it was spoken, where that was
    wished."""

    said: list[str] = field(default_factory=list)
    model: str | None = None
    route: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    queue_ms: float | None = None
    load_ms: float | None = None
    first_token_ms: float | None = None
    tool_calls: list[ToolCallRecord] = field(default_factory=list)
    client_calls: list[Call] = field(default_factory=list)
    dropped: int = 0
    context_tokens: int = 0
    read_tokens: int = 0
    answered: bool = False
    speech: SpokenAnswer | None = None

    @property
    def text(self) -> str:
        return "".join(self.said)

    @property
    def tool_errors(self) -> int:
        return sum(call.status == "failed" for call in self.tool_calls)

    @property
    def mark(self) -> str | None:
        unheard = self.speech is not None and self.speech.status == "failed"
        return TOOL_ERRORS if self.tool_errors else NOT_SPOKEN if unheard else None

    def add_usage(self, prompt_tokens: int, completion_tokens: int) -> None:
        self.read_tokens = prompt_tokens
        self.prompt_tokens = (self.prompt_tokens or 0) + prompt_tokens
        self.completion_tokens = (self.completion_tokens or 0) + completion_tokens


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn and what it works with. on_first_output: called when its flow run may begin (again and again)."""

    request: TurnRequest
    models: Models
    toolbox: Toolbox
    prompts: SystemPrompts
    limits: TurnLimits
    sink: Sink[TurnEvent]
    on_first_output: Callable[[], None]
    written: Callable[[], Any]
    transcript: Transcript = field(default_factory=Transcript)
