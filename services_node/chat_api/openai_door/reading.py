"""What a request of either API means as a turn; what can't be done is refused in words. Pure decisions over values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from flows.tools.policy import RUN_PYTHON, Allowed
from flows.turn import ChatMessage, ToolsWanted
from services_node.chat_api.asking import alternating, checked_text
from services_node.chat_api.openai_door.names import read_call
from services_node.chat_api.openai_door.schemas import (
    CompletionRequest,
    MessageIn,
    PartIn,
    ResponseRequest,
    ToolIn,
)
from wire.errors import ValidationFailed

ASSISTANT = "capibara6"  # the model that is the whole assistant, and the label of its own tools
_WHOLE = {"", "auto", ASSISTANT}
_ROLES: Mapping[str, Literal["system", "user", "assistant", "tool"]] = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
}  # fmt: skip
_TEXTS = {"text", "input_text", "output_text"}
_UNSEEN = {
    "image_url": "images", "input_image": "images", "input_audio": "audio", "file": "files", "input_file": "files",
}  # fmt: skip


def refused(detail: str, param: str, code: str = "not_supported") -> ValidationFailed:
    return ValidationFailed(detail, param=param, code=code)


def model_asked(model: str | None) -> str | None:
    """The model of the model server that is asked for by its own name; None: the router chooses."""
    name = (model or "").strip()
    return None if name.lower() in _WHOLE else name


def text_of(parts: Sequence[PartIn], param: str) -> str:
    """The content's text. Raises ValidationFailed for what a turn can't carry."""
    texts: list[str] = []
    for index, part in enumerate(parts):
        if part.type in _TEXTS and part.text is not None:
            texts.append(part.text)
        elif part.type == "refusal":
            texts.append(part.refusal or "")
        elif part.type in _UNSEEN:
            what = _UNSEEN[part.type]
            detail = f"The assistant reads text only; it takes no {what}. Leave out content part {index}."
            raise refused(detail, f"{param}.{index}", f"{what}_not_supported")
        else:
            raise refused(
                f"A content part of type {part.type[:50]!r} without text is not known here.", f"{param}.{index}"
            )
    return "\n".join(texts)


def read_messages(given: Sequence[MessageIn], most_chars: int) -> tuple[ChatMessage, ...]:
    """The messages of a chat completion, as the model reads them. Raises ValidationFailed naming the one at fault."""
    messages: list[ChatMessage] = []
    for index, one in enumerate(given):
        place = f"messages.{index}"
        if one.role == "function":
            raise refused("Messages of role `function` are an older form: send `tool`.", f"{place}.role")
        said = said_by(one.role, text_of(one.content, f"{place}.content"), f"{place}.content", most_chars)
        if one.role == "tool":
            if one.tool_call_id is None:
                raise refused("Which call is this the result of?", f"{place}.tool_call_id", "missing_field")
            messages.append(result_of(one.tool_call_id, said.content))
        elif one.role == "assistant" and one.tool_calls:
            calls = [
                _called(call.function, call.id, f"{place}.tool_calls.{at}") for at, call in enumerate(one.tool_calls)
            ]
            messages.append(ChatMessage("assistant", said.content, {"tool_calls": calls}))
        elif said.content.strip():  # an empty one of the system or the assistant says nothing
            messages.append(said)
    check_results(messages, "messages")
    if not messages or messages[-1].role not in {"user", "tool"}:
        detail = "The last message must be the user's, or the result of a tool call."
        raise refused(detail, "messages", "last_message_not_user")
    check_asked(messages, "messages")
    return tuple(alternating(messages))


def said_by(role: str, text: str, param: str, most_chars: int) -> ChatMessage:
    """A message of that role. Only the user's must say something."""
    if role == "user" or len(text) > most_chars:
        checked_text(text, param, most_chars)
    return ChatMessage(_ROLES[role], text)


def _called(function: Any, call_id: str, param: str) -> dict[str, Any]:
    if function is None:
        raise refused("Only calls of functions are known here.", f"{param}.function", "missing_field")
    return call_of(call_id, function.name, function.arguments)


def call_of(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """A call as a model knows it: by its own id, without the run that we put before it."""
    return {"id": read_call(call_id)[1], "type": "function", "function": {"name": name, "arguments": arguments}}


def result_of(call_id: str, text: str) -> ChatMessage:
    return ChatMessage("tool", text, {"tool_call_id": read_call(call_id)[1]})


def check_asked(messages: Sequence[ChatMessage], param: str) -> None:
    if not any(message.role == "user" for message in messages):
        raise refused("There is no message of the user's to answer.", param, "no_user_message")


def check_results(messages: Sequence[ChatMessage], param: str) -> None:
    """Every result answers a call made before it, and no call is left without one: chat templates would make
    nonsense of it. Raises ValidationFailed."""
    open_calls: set[str] = set()
    for message in messages:
        if message.role == "tool":
            call_id = message.extra["tool_call_id"]
            if call_id not in open_calls:
                raise refused(f"No call {call_id[:100]!r} stands before this result of it.", param, "unknown_tool_call")
            open_calls.discard(call_id)
            continue
        if open_calls:
            break
        open_calls = {call["id"] for call in message.extra.get("tool_calls", ())}
    if open_calls:
        left = ", ".join(sorted(open_calls))[:200]
        raise refused(f"These calls have no result: {left}.", param, "missing_tool_result")


def last_question(messages: Sequence[ChatMessage]) -> ChatMessage:
    return next(message for message in reversed(messages) if message.role == "user")


# Tools


def tools_asked(
    tools: Sequence[ToolIn] | None,
    choice: str | Mapping[str, Any] | None,
    parallel: bool | None,
    metadata: Mapping[str, str] | None,
) -> ToolsWanted:
    """The client's functions, and which of the server's tools stand beside them.

    The server's: those without side effects, unless `metadata.server_tools` is `false` or names them (`a,b`), or an
    entry of type `mcp` with our label does. A choice of `none` means no tools at all; one that demands a call
    (`required`, a function's name) means one of the client's, so that the server's stay out of its way.
    """
    given = tools or ()
    client = [_function(tool, f"tools.{index}") for index, tool in enumerate(given) if tool.type == "function"]
    allowed = _server_tools(given, metadata or {})
    mode, names = _choice(choice)
    if mode == "none":
        return ToolsWanted(wanted=False)
    if names is not None:
        unknown = sorted(names - {tool["function"]["name"] for tool in client})
        if unknown:
            raise refused(f"`tools` has no function {', '.join(unknown)[:200]}.", "tool_choice", "unknown_tool")
        client = [tool for tool in client if tool["function"]["name"] in names]
    if mode != "auto" and not client:
        raise refused("A `tool_choice` that demands a call needs `tools` to call.", "tool_choice", "missing_field")
    options: dict[str, Any] = {}
    if client and mode == "named":
        options["tool_choice"] = {"type": "function", "function": {"name": client[0]["function"]["name"]}}
    elif client and mode == "required":
        options["tool_choice"] = "required"
    if client and parallel is False:
        options["parallel_tool_calls"] = False
    wanted = mode == "auto" and (allowed.names is None or bool(allowed.names))
    return ToolsWanted(wanted, allowed, tuple(client), options)


def leaving_nothing(tools: ToolsWanted) -> ToolsWanted:
    """The tools of a turn that is not to be stored: without code, which leaves files and a sandbox with what was said
    in it. Raises ValidationFailed where it is named."""
    if tools.wanted and RUN_PYTHON in (tools.allowed.names or ()):
        raise refused(f"{RUN_PYTHON} keeps what it makes: it is not to be had with `store: false`.", "store")
    return replace(tools, allowed=replace(tools.allowed, never=frozenset({RUN_PYTHON})))


def _function(tool: ToolIn, param: str) -> dict[str, Any]:
    """OpenAI's nested form, of that or of the flat one."""
    given = tool.function or tool
    if given.name is None:
        raise refused("A function has a name.", f"{param}.name", "missing_field")
    function: dict[str, Any] = {"name": given.name}
    function |= {"description": given.description} if given.description else {}
    function["parameters"] = given.parameters or {"type": "object", "properties": {}}
    function |= {"strict": given.strict} if given.strict is not None else {}
    return {"type": "function", "function": function}


def _server_tools(tools: Sequence[ToolIn], metadata: Mapping[str, str]) -> Allowed:
    """Which of the server's tools may be used; an empty set of names: none."""
    named_in_tools: frozenset[str] | None = None
    for index, tool in enumerate(tools):
        if tool.type == "mcp" and tool.server_label == ASSISTANT:
            named = tool.allowed_tools
            named = named.get("tool_names") if isinstance(named, Mapping) else named
            if named is None:
                continue
            if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
                raise refused("`allowed_tools` is a list of names.", f"tools.{index}.allowed_tools", "invalid_field")
            named_in_tools = frozenset(named)
        elif tool.type != "function":
            detail = (
                f"Tools of type {tool.type[:50]!r} are not to be had here: send functions of your own. The assistant's "
                f"tools need no mention (or name some: type `mcp`, server_label {ASSISTANT!r}, allowed_tools)."
            )
            raise refused(detail, f"tools.{index}.type", "tool_type_not_supported")
    if named_in_tools is not None:
        return Allowed(named_in_tools)
    word = metadata.get("server_tools", "true").strip()
    if word.lower() in {"true", ""}:
        return Allowed()
    return Allowed(frozenset(name.strip() for name in word.split(",") if name.strip()) - {"false", "none"})


def _choice(choice: str | Mapping[str, Any] | None) -> tuple[str, frozenset[str] | None]:
    """`none`, `auto`, `required` or `named`, and the functions it is about; None: all."""
    match choice:
        case None:
            return "auto", None
        case "none" | "auto" | "required":
            return str(choice), None
        case {"type": "function", "function": {"name": str(name)}} | {"type": "function", "name": str(name)}:
            return "named", frozenset({name})
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto" | "required" as mode, "tools": list(some)}}:
            return mode, _names(some)
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(some)}:
            return mode, _names(some)
    raise refused("`tool_choice` is `none`, `auto`, `required`, a function's, or `allowed_tools`.", "tool_choice")


def _names(tools: Sequence[Any]) -> frozenset[str]:
    named = [(tool.get("function") or tool).get("name") for tool in tools if isinstance(tool, dict)]
    return frozenset(str(name) for name in named if name)


# Options


def completion_options(asked: CompletionRequest) -> dict[str, Any]:
    """What goes to the model as it is. Raises ValidationFailed for what can't be done."""
    if asked.n is not None and asked.n != 1:
        raise refused("One answer a request: `n` must be 1.", "n")
    if asked.logprobs:
        raise refused("The assistant tells no log probabilities; the model server's own door does.", "logprobs")
    if asked.audio is not None or set(asked.modalities or ()) - {"text"}:
        raise refused("The assistant answers in text only.", "modalities", "audio_not_supported")
    if asked.functions is not None or asked.function_call is not None:
        raise refused("`functions` is an older form: send `tools`.", "functions")
    if asked.web_search_options is not None:
        raise refused("There is no web search here.", "web_search_options")
    return _given(
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_tokens=asked.max_completion_tokens or asked.max_tokens,
        seed=asked.seed,
        stop=asked.stop,
        presence_penalty=asked.presence_penalty,
        frequency_penalty=asked.frequency_penalty,
        response_format=read_format(asked.response_format, "response_format"),
    )


def response_options(asked: ResponseRequest) -> dict[str, Any]:
    """The same of a response."""
    if asked.background:
        raise refused("Responses are not made in the background: leave `background` out.", "background")
    if asked.top_logprobs:
        raise refused("The assistant tells no log probabilities.", "top_logprobs")
    if asked.prompt is not None:
        raise refused("There are no prompt templates here: send `instructions` and `input`.", "prompt")
    form = asked.text.format if asked.text is not None else None
    if form is not None and form.get("type") == "json_schema":
        schema = {
            name: form[name] for name in ("name", "description", "schema", "strict") if form.get(name) is not None
        }
        form = {"type": "json_schema", "json_schema": schema}
    return _given(
        temperature=asked.temperature,
        top_p=asked.top_p,
        max_tokens=asked.max_output_tokens,
        response_format=read_format(form, "text.format"),
    )


def read_format(given: Mapping[str, Any] | None, param: str) -> Mapping[str, Any] | None:
    """The form of the answer, for the model to keep to; None where it is free."""
    match given:
        case None | {"type": "text"}:
            return None
        case {"type": "json_object"} | {"type": "json_schema", "json_schema": {"name": str(), "schema": dict()}}:
            return given
        case {"type": "json_schema"}:
            raise refused("A form of type `json_schema` has a `name` and a `schema`.", param, "invalid_field")
    raise refused("The form of an answer is `text`, `json_object` or `json_schema`.", param)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
