"""What the published conformance suite asks a server to offer: tools, resources and prompts with given names and
answers, on our registry, and the optional parts of the protocol that no product tool needs.
"""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from typing import Annotated, Any

import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError
from pydantic import Field

from services_node.mcp_server.registry import (
    AudioContent,
    Call,
    EmbeddedResource,
    ImageContent,
    PromptMessage,
    Registry,
    TextContent,
    Tool,
    ToolFailed,
    ToolReply,
)

registry = Registry()
WITHOUT_WORDS: dict[str, tuple[str, ...]] = {}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    + _chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    + _chunk(b"IEND", b"")
).decode()
WAV = base64.b64encode(
    b"RIFF" + struct.pack("<I", 38) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16000, 2, 16)
    + b"data" + struct.pack("<I", 2) + b"\x00\x00"
).decode()  # fmt: skip


def text(words: str) -> TextContent:
    return TextContent(text=words)


def embedded(uri: str, mime_type: str, words: str) -> EmbeddedResource:
    return EmbeddedResource(resource=types.TextResourceContents(uri=uri, mime_type=mime_type, text=words))


def tool(function: Any) -> Any:
    return registry.tool(title=function.__name__, timeout_seconds=20, cost="cheap", keywords=WITHOUT_WORDS)(function)


@tool
async def test_simple_text() -> ToolReply:
    """Answers with a line of text."""
    return ToolReply((text("This is a simple text response for testing."),))


@tool
async def test_image_content() -> ToolReply:
    """Answers with an image."""
    return ToolReply((ImageContent(data=PNG, mime_type="image/png"),))


@tool
async def test_audio_content() -> ToolReply:
    """Answers with a sound."""
    return ToolReply((AudioContent(data=WAV, mime_type="audio/wav"),))


@tool
async def test_embedded_resource() -> ToolReply:
    """Answers with a resource."""
    words = "This is an embedded resource content."
    return ToolReply((embedded("test://embedded-resource", "text/plain", words),))


@tool
async def test_multiple_content_types() -> ToolReply:
    """Answers with text, an image and a resource."""
    return ToolReply(
        (
            text("Multiple content types test:"),
            ImageContent(data=PNG, mime_type="image/png"),
            embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
        )
    )


@tool
async def test_error_handling() -> ToolReply:
    """Always fails."""
    raise ToolFailed("This tool intentionally returns an error for testing")


@tool
async def test_tool_with_progress(*, call: Call) -> ToolReply:
    """Tells its progress."""
    for done in (0, 50, 100):
        await call.progress(done, 100, f"Completed step {done} of 100")
        await asyncio.sleep(0.05)
    return ToolReply((text("done"),))


async def _log(call: Call, words: str) -> None:
    assert call.exchange is not None
    await call.exchange.session.send_log_message("info", words, related_request_id=call.exchange.request_id)


@tool
async def test_tool_with_logging(*, call: Call) -> ToolReply:
    """Logs to its client while it works."""
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await _log(call, words)
        await asyncio.sleep(0.05)
    return ToolReply((text("done"),))


@tool
async def test_logging_tool(*, call: Call) -> ToolReply:
    """Logs a line to a client that wants it."""
    await _log(call, "a line")
    return ToolReply((text("done"),))


@tool
async def test_sampling(prompt: str, *, call: Call) -> ToolReply:
    """Asks the client's model."""
    answer = await _session(call, types.ClientCapabilities(sampling=types.SamplingCapability())).create_message(
        [types.SamplingMessage(role="user", content=text(prompt))], max_tokens=100, related_request_id=_request(call)
    )
    said = answer.content.text if isinstance(answer.content, TextContent) else str(answer.content)
    return ToolReply((text(f"LLM response: {said}"),))


@tool
async def test_elicitation(message: str, *, call: Call) -> ToolReply:
    """Asks the client's user."""
    properties = {"username": _string("User's response"), "email": _string("User's email address")}
    return await _elicited(call, message, properties, "User response: ", required=["username", "email"])


@tool
async def test_elicitation_sep1034_defaults(*, call: Call) -> ToolReply:
    """Asks with a default for each kind of value."""
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    return await _elicited(call, "Please confirm", properties, "Elicitation completed: ")


@tool
async def test_elicitation_sep1330_enums(*, call: Call) -> ToolReply:
    """Asks for choices in all five forms."""
    options, titled = ["option1", "option2", "option3"], lambda *names: [
        {"const": f"value{place}", "title": name} for place, name in enumerate(names, 1)
    ]  # fmt: skip
    properties = {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string", "oneOf": titled("First Option", "Second Option", "Third Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("First Choice", "Second Choice", "Third Choice")}},
    }
    return await _elicited(call, "Please choose", properties, "Elicitation completed: ")


@tool
async def test_streaming_elicitation(*, call: Call) -> types.InputRequiredResult:
    """Tells its progress, then asks."""
    await call.progress(1, 2, "asking")
    return _asking("confirm", "Go on?", {"ok": {"type": "boolean"}})


@tool
async def test_missing_capability(*, call: Call) -> ToolReply:
    """Cannot work without the client's model."""
    _session(call, types.ClientCapabilities(sampling=types.SamplingCapability()))
    return ToolReply((text("done"),))


@tool
async def test_reconnection(*, call: Call) -> ToolReply:
    """Ends its stream in the middle, where streams can be taken up again."""
    assert call.exchange is not None
    if call.exchange.close_sse_stream is not None:
        await call.exchange.close_sse_stream()
        await asyncio.sleep(0.1)
    return ToolReply((text("Reconnection test completed"),))


def _session(call: Call, needed: types.ClientCapabilities) -> Any:
    assert call.exchange is not None
    session = call.exchange.session
    if not session.check_client_capability(needed):
        data = types.MissingRequiredClientCapabilityErrorData(required_capabilities=needed)
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            "The client lacks a capability that this tool needs",
            data.model_dump(by_alias=True, mode="json", exclude_none=True),
        )
    return session


def _request(call: Call) -> Any:
    assert call.exchange is not None
    return call.exchange.request_id


def _string(description: str) -> dict[str, str]:
    return {"type": "string", "description": description}


async def _elicited(
    call: Call, message: str, properties: dict[str, Any], told: str, required: list[str] | None = None
) -> ToolReply:
    session = _session(call, types.ClientCapabilities(elicitation=types.ElicitationCapability()))
    schema = {"type": "object", "properties": properties, "required": required or []}
    answer = await session.elicit_form(message, schema, related_request_id=_request(call))
    return ToolReply((text(f"{told}action={answer.action}, content={answer.content}"),))


def _elicit(message: str, properties: dict[str, Any]) -> types.ElicitRequest:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return types.ElicitRequest(params=types.ElicitRequestFormParams(message=message, requested_schema=schema))


def _sample(words: str, most: int) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=text(words))
    return types.CreateMessageRequest(params=types.CreateMessageRequestParams(messages=[message], max_tokens=most))


def _asking(key: str, message: str, properties: dict[str, Any], state: str | None = None) -> types.InputRequiredResult:
    return types.InputRequiredResult(input_requests={key: _elicit(message, properties)}, request_state=state)


def _answers(call: Call) -> dict[str, Any]:
    assert call.exchange is not None
    found = (call.exchange.params or {}).get("inputResponses")
    return found if isinstance(found, dict) else {}


def _said(call: Call, key: str, field: str) -> Any:
    """What the user said to one of the questions; None for anything that is no such answer."""
    answer = _answers(call).get(key)
    content = answer.get("content") if isinstance(answer, dict) and answer.get("action") == "accept" else None
    return content.get(field) if isinstance(content, dict) else None


def _state(call: Call) -> Any:
    assert call.exchange is not None
    return (call.exchange.params or {}).get("requestState")


NAME = {"name": {"type": "string"}}


@tool
async def test_input_required_result_elicitation(*, call: Call) -> ToolReply | types.InputRequiredResult:
    """Asks for a name, then greets."""
    name = _said(call, "user_name", "name")
    return ToolReply((text(f"Hello, {name}!"),)) if name else _asking("user_name", "What is your name?", NAME)


@tool
async def test_input_required_result_sampling(*, call: Call) -> ToolReply | types.InputRequiredResult:
    """Asks the client's model for a capital."""
    answer = _answers(call).get("capital_question")
    if isinstance(answer, dict):
        return ToolReply((text(f"The model says: {answer.get('content', {}).get('text')}"),))
    return types.InputRequiredResult(
        input_requests={"capital_question": _sample("What is the capital of France?", 100)}
    )


@tool
async def test_input_required_result_list_roots(*, call: Call) -> ToolReply | types.InputRequiredResult:
    """Asks for the client's roots."""
    answer = _answers(call).get("client_roots")
    if isinstance(answer, dict):
        return ToolReply((text(f"Roots: {[root.get('uri') for root in answer.get('roots', [])]}"),))
    return types.InputRequiredResult(input_requests={"client_roots": types.ListRootsRequest()})


async def _confirmed(call: Call) -> ToolReply | types.InputRequiredResult:
    if _said(call, "confirm", "ok") is not None and _state(call) == "round-1":
        return ToolReply((text("state-ok"),))
    return _asking("confirm", "Please confirm", {"ok": {"type": "boolean"}}, "round-1")


@tool
async def test_input_required_result_request_state(*, call: Call) -> ToolReply | types.InputRequiredResult:
    """Gives its client a state to keep."""
    return await _confirmed(call)


@tool
async def test_input_required_result_tampered_state(*, call: Call) -> ToolReply | types.InputRequiredResult:
    """The same, for a client that changes it."""
    return await _confirmed(call)


@tool
async def test_input_required_result_multiple_inputs(*, call: Call) -> ToolReply | types.InputRequiredResult:
    """Asks three things at once."""
    answers = _answers(call)
    if {"user_name", "greeting", "client_roots"} <= set(answers) and _state(call) == "three":
        return ToolReply((text(f"Hello, {_said(call, 'user_name', 'name')}!"),))
    return types.InputRequiredResult(
        input_requests={
            "user_name": _elicit("What is your name?", NAME),
            "greeting": _sample("Generate a greeting", 50),
            "client_roots": types.ListRootsRequest(),
        },
        request_state="three",
    )


@tool
async def test_input_required_result_multi_round(*, call: Call) -> ToolReply | types.InputRequiredResult:
    """Asks one thing after another."""
    color, name = _said(call, "step2", "color"), _said(call, "step1", "name")
    if color and _state(call) == "round-2":
        return ToolReply((text(f"A {color} hello"),))
    if name and _state(call) == "round-1":
        colors = {"color": {"type": "string"}}
        return _asking("step2", "Step 2: What is your favorite color?", colors, "round-2")
    return _asking("step1", "Step 1: What is your name?", NAME, "round-1")


@tool
async def test_input_required_result_capabilities(*, call: Call) -> ToolReply | types.InputRequiredResult:
    """Asks only what its client can answer."""
    assert call.exchange is not None
    if _answers(call):
        return ToolReply((text("done"),))
    can = call.exchange.session.client_capabilities or types.ClientCapabilities()
    asked: dict[str, Any] = {}
    if can.elicitation is not None:
        asked["user_name"] = _elicit("What is your name?", NAME)
    if can.sampling is not None:
        asked["greeting"] = _sample("Generate a greeting", 50)
    return types.InputRequiredResult(input_requests=asked) if asked else ToolReply((text("nothing to ask"),))


async def _accept(arguments: Any, call: Call) -> ToolReply:
    return ToolReply((text("accepted"),))


ADDRESS = {
    "$anchor": "addressDef",
    "type": "object",
    "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
}
SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": ADDRESS},
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
registry.add_tool(Tool("json_schema_2020_12_tool", "Schema", "Has a schema of 2020-12.", SCHEMA_2020_12, _accept))
HEADERS_SCHEMA = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "query": {"type": "string"}},
    "required": ["region"],
}
registry.add_tool(Tool("test_headers", "Headers", "Has an argument that is a header too.", HEADERS_SCHEMA, _accept))


def _static(uri: str, name: str, mime_type: str, contents: str | bytes) -> None:
    @registry.resource(uri, name=name, description=name, mime_type=mime_type)
    async def read() -> str | bytes:
        return contents


_static("test://static-text", "Static text", "text/plain", "This is the content of the static text resource.")
_static("test://static-binary", "Static binary", "image/png", base64.b64decode(PNG))
_static("test://watched-resource", "Watched", "text/plain", "Watched resource content")
_static("test://example-resource", "Example", "text/plain", "Example resource content")


@registry.resource("test://template/{id}/data", name="Template", mime_type="application/json")
async def template(id: str) -> dict[str, Any]:  # noqa: A002 - the suite's name
    """Data by number."""
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


@registry.prompt(title="Simple")
def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


async def _arguments(beginning: str, call: Call) -> list[str]:
    return [word for word in ("paris", "park", "party") if word.startswith(beginning)]


@registry.prompt(title="Arguments", complete={"arg1": _arguments})
def test_prompt_with_arguments(
    arg1: Annotated[str, Field(description="First test argument")],
    arg2: Annotated[str, Field(description="Second test argument")],
) -> str:
    """A prompt with arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@registry.prompt(title="Resource")
def test_prompt_with_embedded_resource(
    resourceUri: Annotated[str, Field(description="URI of the resource to embed")],
) -> list[PromptMessage]:
    """A prompt with a resource in it."""
    resource = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
    asked = text("Please process the embedded resource above.")
    return [PromptMessage(role="user", content=resource), PromptMessage(role="user", content=asked)]


@registry.prompt(title="Image")
def test_prompt_with_image() -> list[PromptMessage]:
    """A prompt with an image in it."""
    image = ImageContent(data=PNG, mime_type="image/png")
    asked = text("Please analyze the image above.")
    return [PromptMessage(role="user", content=image), PromptMessage(role="user", content=asked)]


@registry.prompt(title="Asking")
def test_input_required_result_prompt(*, call: Call) -> Any:
    """A prompt that asks for its context."""
    context = _said(call, "user_context", "context")
    if context:
        return f"Use this context: {context}"
    return _asking("user_context", "What context should the prompt use?", {"context": {"type": "string"}})


def add_triggers(bus: InMemorySubscriptionBus) -> None:
    """Tools that make lists change, as the suite asks for."""

    async def tools_changed(arguments: Any, call: Call) -> ToolReply:
        await bus.publish(ToolsListChanged())
        return ToolReply((text("changed"),))

    async def prompts_changed(arguments: Any, call: Call) -> ToolReply:
        await bus.publish(PromptsListChanged())
        return ToolReply((text("changed"),))

    schema = {"type": "object", "properties": {}}
    registry.add_tool(Tool("test_trigger_tool_change", "Tools", "The tools have changed.", schema, tools_changed))
    registry.add_tool(
        Tool("test_trigger_prompt_change", "Prompts", "The prompts have changed.", schema, prompts_changed)
    )


def add_optional(server: Server[Any]) -> None:
    """Parts of 2025-11-25 that the product leaves out: log levels, subscriptions to single resources."""

    async def accept(ctx: Any, params: Any) -> types.EmptyResult:
        return types.EmptyResult()

    server.add_request_handler("logging/setLevel", types.SetLevelRequestParams, accept)
    server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, accept)
    server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, accept)
