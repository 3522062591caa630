"""Tools, resources and prompts: plain typed functions, registered by a decorator.

A module of tools has a registry of its own; `catalogue.py` includes them all:

    from services_node.mcp_server.registry import Call, Registry, ToolFailed, ToolReply

    registry = Registry()

    class Sum(BaseModel):
        total: float
        def text(self) -> str: ...          # what the model reads; without it, the model's JSON

    @registry.tool(title="Adder", read_only=True, idempotent=True, open_world=False, timeout_seconds=5, cost="cheap",
                   keywords={"es": ("suma",), "en": ("add", "sum")})
    async def add(numbers: Annotated[list[float], Field(max_length=100, description="What to add.")],
                  *, call: Call) -> Sum:
        \"\"\"Adds numbers exactly.\"\"\"          # the description the model reads
        if not numbers:
            raise ToolFailed("`numbers` is empty: give at least one.")
        await call.progress(1, 2, "adding")
        return Sum(total=sum(numbers))

`call` may be left out. A function may return ToolReply instead of a model (`output=` then names the schema of its
`structured`). It is cancelled when the client gives up or the timeout ends: clean up in `finally`. Anything raised but
ToolFailed is logged and told to the model as a failure of the tool, without its insides.

    @registry.resource("capibara6://runs/{run_id}", name="run", title="A run", description="…",
                       mime_type="application/json", lister=list_runs, complete={"run_id": recent_run_ids})
    async def run(run_id: str, *, call: Call) -> str | bytes | BaseModel | dict:
        \"\"\"…\"\"\"                              # raise UnknownResource for one that is not there

    async def list_runs(call: Call, cursor: str | None) -> Page: ...
    async def recent_run_ids(beginning: str, call: Call) -> list[str]: ...

    @registry.prompt(title="Summarise")
    def summarise(text: Annotated[str, Field(description="…")], language: Literal["es", "en"] = "es") -> str: ...
        # or a list of PromptMessage; values of a Literal complete by themselves
"""

from __future__ import annotations

import inspect
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args, get_origin

from mcp.server.context import ServerRequestContext
from mcp_types import (
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    InputRequiredResult,
    PromptMessage,
    ResourceLink,
    TextContent,
)
from pydantic import BaseModel

from services_node.mcp_server.arguments import argument_model, checked, schema_of
from services_node.mcp_server.errors import (
    BadArguments,
    Busy,
    ToolFailed,
    UnknownPrompt,
    UnknownResource,
    UnknownTool,
)
from services_node.mcp_server.parts import Parts

__all__ = [
    "AudioContent", "BadArguments", "Busy", "Call", "ContentBlock", "EmbeddedResource", "ImageContent", "Page",
    "Prompt", "PromptMessage", "Registry", "Resource", "ResourceEntry", "ResourceLink", "TextContent", "Tool",
    "ToolFailed", "ToolReply", "UnknownPrompt", "UnknownResource", "UnknownTool",
]  # fmt: skip

Locale = Literal["es", "en"]
Cost = Literal["cheap", "moderate", "expensive"]
Progress = Callable[[float, float | None, str], Awaitable[None]]
_VARIABLE = re.compile(r"\{(\w+)\}")


async def no_progress(done: float, total: float | None, message: str) -> None:
    """For a caller who did not ask for any."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a function knows of the call in hand. progress: done, total (or None), a message for people.

    exchange: the MCP request, for what asks the client something back; None for REST.
    """

    run_id: uuid.UUID
    principal: str
    parts: Parts
    conversation_id: uuid.UUID | None = None
    locale: Locale = "en"
    progress: Progress = no_progress
    exchange: ServerRequestContext[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolReply:
    """content: what the model reads. structured: the result as data, where the tool has an output schema.

    untrusted: the content comes from outside, whole: it is marked as data, not instructions, and links become text.
    source: where from (a host).
    failed: what was asked for failed, and this is what is known of it: a result with `isError`.
    """

    content: tuple[ContentBlock, ...] = ()
    structured: BaseModel | Mapping[str, Any] | None = None
    untrusted: bool = False
    source: str = ""
    failed: bool = False


ToolResult = ToolReply | CallToolResult | InputRequiredResult


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool and what is promised of it. run: from arguments as they came, to a reply; raises ToolFailed.

    read_only: changes nothing. idempotent: once or twice is the same. destructive: may lose something.
    open_world: works on what is outside this installation. untrusted: so may its results be; marked: they then stand
    between marks (not where most of the text is ours: small models read it worse). examples: questions, and the
    arguments that answer them, for small models to imitate.
    """

    name: str
    title: str
    description: str
    input_schema: Mapping[str, Any]
    run: Callable[[Mapping[str, Any], Call], Awaitable[ToolResult]]
    output_schema: Mapping[str, Any] | None = None
    read_only: bool = False
    idempotent: bool = False
    destructive: bool = False
    open_world: bool = False
    untrusted: bool = False
    marked: bool = True
    timeout_seconds: float = 30
    cost: Cost = "cheap"
    keywords: Mapping[str, Sequence[str]] = field(default_factory=dict)
    examples: Sequence[tuple[str, Mapping[str, Any]]] = ()


@dataclass(frozen=True, slots=True)
class ResourceEntry:
    """One resource of a list. size: bytes, where known."""

    uri: str
    name: str
    title: str | None = None
    description: str | None = None
    mime_type: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """next_cursor: the lister's own word for where to go on; None at the end."""

    entries: tuple[ResourceEntry, ...]
    next_cursor: str | None = None


Contents = str | bytes | BaseModel | Mapping[str, Any]
Lister = Callable[[Call, str | None], Awaitable[Page]]
Completer = Callable[[str, Call], Awaitable[list[str]]]


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource, or with `{variables}` in its URI a template of many, which `lister` may list."""

    uri: str
    name: str
    title: str | None
    description: str
    mime_type: str
    read: Callable[..., Awaitable[Contents]]
    lister: Lister | None = None
    complete: Mapping[str, Completer] = field(default_factory=dict)

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(_VARIABLE.findall(self.uri))

    def match(self, uri: str) -> dict[str, str] | None:
        """The variables of `uri`, when it is one of these. A variable holds no slash, query, fragment or space."""
        pattern = "".join(
            f"(?P<{part}>[^/?#\\s]+)" if index % 2 else re.escape(part)
            for index, part in enumerate(_VARIABLE.split(self.uri))
        )
        found = re.fullmatch(pattern, uri)
        return found.groupdict() if found else None


@dataclass(frozen=True, slots=True)
class Prompt:
    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    render: Callable[[Mapping[str, Any], Call], Awaitable[list[PromptMessage] | InputRequiredResult]]
    complete: Mapping[str, Completer] = field(default_factory=dict)

    def choices(self, argument: str) -> tuple[str, ...]:
        """The values of an argument that has only so many (a Literal)."""
        known = self.arguments.model_fields.get(argument)
        return tuple(str(value) for value in get_args(known.annotation)) if known and _literal(known.annotation) else ()


class Registry:
    """Tools, resources and prompts by name. Filled while modules are imported, read afterwards."""

    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}
        self.resources: dict[str, Resource] = {}
        self.prompts: dict[str, Prompt] = {}

    def include(self, other: Registry) -> None:
        """Takes over what another module registered. Raises ValueError for a name taken twice."""
        for tool in other.tools.values():
            self.add_tool(tool)
        for resource in other.resources.values():
            self.add_resource(resource)
        for prompt in other.prompts.values():
            self.add_prompt(prompt)

    def add_tool(self, tool: Tool) -> None:
        _add(self.tools, tool.name, tool)

    def add_resource(self, resource: Resource) -> None:
        _add(self.resources, resource.uri, resource)

    def add_prompt(self, prompt: Prompt) -> None:
        _add(self.prompts, prompt.name, prompt)

    def tool(
        self,
        *,
        title: str,
        timeout_seconds: float,
        cost: Cost,
        keywords: Mapping[str, Sequence[str]],
        examples: Sequence[tuple[str, Mapping[str, Any]]] = (),
        read_only: bool = False,
        idempotent: bool = False,
        destructive: bool = False,
        open_world: bool = False,
        untrusted: bool = False,
        marked: bool = True,
        output: type[BaseModel] | None = None,
    ) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]:
        """See the module. The function itself is returned unchanged, to be called and tested as it is."""

        def register(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            if not inspect.iscoroutinefunction(function):
                raise TypeError(f"{function.__name__}: a tool is an `async def`, so that it can be cancelled")
            model = argument_model(function)
            signature = inspect.signature(function, eval_str=True)
            wants_call, answer = "call" in signature.parameters, output or signature.return_annotation
            has_schema = isinstance(answer, type) and issubclass(answer, BaseModel)

            async def run(arguments: Mapping[str, Any], call: Call) -> ToolResult:
                values = checked(model, arguments)
                found = await (function(**values, call=call) if wants_call else function(**values))
                if isinstance(found, BaseModel) and not isinstance(found, CallToolResult | InputRequiredResult):
                    found = ToolReply(structured=found)
                if has_schema and isinstance(found, ToolReply):
                    return replace(found, structured=_fitting(answer, found.structured))
                reply: ToolResult = found
                return reply

            self.add_tool(
                Tool(
                    name=function.__name__,
                    title=title,
                    description=_description(function),
                    input_schema=schema_of(model),
                    output_schema=schema_of(answer, "serialization") if has_schema else None,
                    run=run,
                    read_only=read_only,
                    idempotent=idempotent,
                    destructive=destructive,
                    open_world=open_world,
                    untrusted=untrusted,
                    marked=marked,
                    timeout_seconds=timeout_seconds,
                    cost=cost,
                    keywords=keywords,
                    examples=examples,
                )
            )
            return function

        return register

    def resource(
        self,
        uri: str,
        *,
        name: str,
        title: str | None = None,
        description: str = "",
        mime_type: str = "text/plain",
        lister: Lister | None = None,
        complete: Mapping[str, Completer] | None = None,
    ) -> Callable[[Callable[..., Awaitable[Contents]]], Callable[..., Awaitable[Contents]]]:
        """uri: with `{variables}` that are the function's parameters, or without any."""

        def register(function: Callable[..., Awaitable[Contents]]) -> Callable[..., Awaitable[Contents]]:
            parameters = set(inspect.signature(function).parameters)
            if parameters - {"call"} != set(_VARIABLE.findall(uri)):
                raise TypeError(f"{function.__name__}: its parameters are not the variables of {uri}")
            wants_call = "call" in parameters

            async def read(call: Call, **variables: str) -> Contents:
                return await (function(**variables, call=call) if wants_call else function(**variables))

            told = description or _description(function)
            self.add_resource(Resource(uri, name, title, told, mime_type, read, lister, complete or {}))
            return function

        return register

    def prompt(
        self, *, title: str, name: str | None = None, complete: Mapping[str, Completer] | None = None
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """The function (plain or `async`) returns the user's message, or a list of PromptMessage."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            model = argument_model(function)
            wants_call = "call" in inspect.signature(function).parameters

            async def render(arguments: Mapping[str, Any], call: Call) -> list[PromptMessage] | InputRequiredResult:
                values = checked(model, arguments)
                found = function(**values, call=call) if wants_call else function(**values)
                if inspect.isawaitable(found):
                    found = await found
                if isinstance(found, str):
                    return [PromptMessage(role="user", content=TextContent(text=found))]
                return found if isinstance(found, InputRequiredResult) else list(found)

            called = name or function.__name__
            self.add_prompt(Prompt(called, title, _description(function), model, render, complete or {}))
            return function

        return register


def _fitting(model: type[BaseModel], structured: Any) -> BaseModel:
    """The result, which must be what the tool's schema promises. Raises ValidationError: a fault of the tool."""
    return structured if isinstance(structured, model) else model.model_validate(structured)


def _literal(annotation: Any) -> bool:
    return get_origin(annotation) is Literal


def _add(known: dict[str, Any], name: str, entry: Any) -> None:
    if name in known:
        raise ValueError(f"{name!r} is registered twice")
    known[name] = entry


def _description(function: Callable[..., Any]) -> str:
    text = inspect.getdoc(function)
    if not text:
        raise TypeError(f"{function.__name__} has no docstring: it is the description that models read")
    return text
