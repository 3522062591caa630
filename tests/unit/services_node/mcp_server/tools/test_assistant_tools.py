"""The tools and resources that ask the chat API, against one in this process that answers as it does."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from services_node.mcp_server.catalogue import product_registry
from services_node.mcp_server.errors import ToolFailed, UnknownResource
from services_node.mcp_server.registry import Call, ImageContent, ResourceLink, TextContent
from wire.clients.assistant import AssistantClient
from wire.context import ON_BEHALF_HEADER, PARENT_RUN_HEADER, RUN_ID_HEADER, RequestContext, enter
from wire.errors import NotFound, TooManyRequests, ValidationFailed, problem_response
from wire.ids import uuid7
from wire.principals import Principal
from wire.trace import TraceContext

REGISTRY = product_registry()
RUN = str(uuid.UUID(int=1))
IMAGE, TEXT, BLOB = (str(uuid.UUID(int=number)) for number in (2, 3, 4))
FILES = {
    IMAGE: ("plot.png", "image/png", b"\x89PNG"),
    TEXT: ("notes.md", "text/markdown", "año ".encode() * 100),
    BLOB: ("data.bin", "application/octet-stream", b"\x00\xff"),
}
STORY = {
    "id": RUN, "kind": "code", "status": "failed", "model": None, "created_at": "2026-11-27T10:00:00Z",
    "timings": {"total_ms": 12.5}, "error": {"code": "sandbox_lost", "detail": "It ended."}, "parent_id": None,
    "steps": [{"name": "run_code", "status": "failed", "error_code": "sandbox_lost", "error_detail": "It ended."}],
    "files": [{"id": BLOB, "name": "data.bin", "media_type": "application/octet-stream", "size_bytes": 2}],
}  # fmt: skip

MODELS = [
    {"id": "phi4_fast", "object": "model", "status": "loaded", "description": "General questions", "parent": None,
     "capabilities": {"vision": False, "tools": True, "tool_calls": "guided"}},
    {"id": "qwen_coder", "status": "available"},
]  # fmt: skip


def file_told(one: str) -> dict[str, Any]:
    name, media_type, data = FILES[one]
    return {"id": one, "name": name, "media_type": media_type, "size_bytes": len(data)}


class ChatApi:
    """asked: each request, by method and path. code: the events of the next run of code."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.bodies: list[Any] = []
        self.code: list[dict[str, Any]] = []
        self.refusal: Response | None = None
        self.said: list[dict[str, Any]] | None = None  # in the conversation, beside two

    def app(self) -> Starlette:
        routes = [
            Route("/api/code/run/stream", self.run_code, methods=["POST"]),
            Route("/api/runs/{id}", self.run),
            Route("/api/runs", lambda request: self.told(request, {"runs": [STORY], "next_cursor": "more"})),
            Route("/api/models", lambda request: self.told(request, {"data": MODELS})),
            Route(
                "/api/flows", lambda request: self.told(request, {"flows": [{"name": "code-batch"}, {"name": "chat"}]})
            ),
            Route("/api/flows/{name}/runs", self.start, methods=["POST"]),
            Route("/api/conversations/search", self.search),
            Route("/api/conversations/{id}", self.conversation),
            Route("/api/files/{id}", lambda request: self.told(request, file_told(request.path_params["id"]))),
            Route("/api/files/{id}/content", self.content),
        ]
        return Starlette(routes=routes)

    def told(self, request: Request, body: Any, status: int = 200) -> Response:
        self.asked.append(request)
        return self.refusal or JSONResponse(body, status)

    async def run_code(self, request: Request) -> Response:
        self.bodies.append(await request.json())

        async def events() -> AsyncIterator[bytes]:
            for event in self.code:
                yield f"data: {json.dumps(event)}\n\n".encode()

        self.asked.append(request)
        return self.refusal or StreamingResponse(events())

    async def run(self, request: Request) -> Response:
        known = request.path_params["id"] == RUN
        return self.told(request, STORY) if known else problem_response(NotFound("No such run."))

    async def start(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        return self.told(request, {"run_id": RUN, "status": "queued", "flow": "code-batch", "location": "/"}, 202)

    async def search(self, request: Request) -> Response:
        hit = {"conversation_id": "c", "title": "Ríos", "message_id": "m", "role": "user", "rank": 0.5,
               "created_at": "2026-11-27T10:00:00Z", "snippet": "el «río» Ebro"}  # fmt: skip
        return self.told(request, {"results": [hit] if "río" in request.query_params["q"] else []})

    async def conversation(self, request: Request) -> Response:
        said = {"role": "user", "content": "hola", "created_at": "2026-11-27T10:00:00Z", "model": None}
        answer = {"role": "assistant", "content": "¡Hola!", "created_at": "2026-11-27T10:00:01Z", "model": "phi4_fast"}
        messages = self.said if self.said is not None else [said, answer]
        ids = [message.get("id") for message in messages]
        end = ids.index(request.query_params["before"]) if "before" in request.query_params else len(messages)
        page = messages[max(0, end - int(request.query_params["messages"])) : end]
        return self.told(request, {"id": RUN, "title": "Saludos", "messages": page})

    async def content(self, request: Request) -> Response:
        self.asked.append(request)
        return Response(FILES[request.path_params["id"]][2])


@pytest.fixture
def api() -> ChatApi:
    return ChatApi()


@pytest.fixture(scope="module")
def client() -> AssistantClient:
    return AssistantClient("http://chat.test")


@pytest.fixture
def call(api: ChatApi, client: AssistantClient) -> Call:
    transport = httpx.ASGITransport(api.app())
    client._http = httpx.AsyncClient(transport=transport, base_url="http://chat.test", verify=False)
    settings = SimpleNamespace(mcp_result_binary_bytes=1000, mcp_resource_bytes=150)
    parts: Any = SimpleNamespace(assistant=client, settings=settings)
    run_id = uuid7()
    enter(RequestContext(run_id, TraceContext.new(), Principal("ana")))
    return Call(run_id, "ana", parts)


async def used(name: str, arguments: dict[str, Any], call: Call) -> Any:
    return await REGISTRY.tools[name].run(arguments, call)


def end(**told: Any) -> dict[str, Any]:
    reply = {"stdout": "", "stderr": "", "results": [], "error": None, "files": [], "run_id": RUN, "duration_ms": 5.0}
    return {"type": "end", "content": "", "done": True, **reply, **told}


async def test_code_runs_as_the_callers_own_with_its_files(api: ChatApi, call: Call) -> None:
    told: list[str] = []

    async def progress(done: float, total: float | None, message: str) -> None:
        told.append(message)

    call = Call(call.run_id, call.principal, call.parts, progress=progress)
    api.code = [
        {"type": "start", "content": "", "done": False},
        {"type": "stdout", "content": "42\n", "done": False},
        end(stdout="42\n", results=[{"text": "'last'"}], files=[file_told(IMAGE), file_told(BLOB)]),
    ]
    found = await used("run_python", {"code": "print(42)", "files": [{"name": "a.txt", "content": "x"}]}, call)
    words, picture, *links = found.content
    assert isinstance(words, TextContent) and "42" in words.text and "'last'" in words.text
    assert isinstance(picture, ImageContent) and base64.b64decode(picture.data) == b"\x89PNG"
    assert [str(link.uri) for link in links if isinstance(link, ResourceLink)] == [
        f"capibara6://files/{IMAGE}", f"capibara6://files/{BLOB}",
    ]  # fmt: skip
    assert found.structured.ok and found.structured.run_id == RUN and told[0] == "the sandbox is ready"
    sent = api.asked[0].headers
    assert sent[ON_BEHALF_HEADER] == "ana" and sent[PARENT_RUN_HEADER] == str(call.run_id)
    assert sent[RUN_ID_HEADER] != str(call.run_id)
    assert api.bodies[0] == {"code": "print(42)", "language": "python", "files": [{"name": "a.txt", "content": "x"}]}


async def test_an_error_of_the_code_is_a_result_the_model_can_read(api: ChatApi, call: Call) -> None:
    error = {
        "name": "ZeroDivisionError",
        "value": "division by zero",
        "traceback": "\x1b[31mline 1\x1b[0m" + "x" * 5000,
    }
    api.code = [end(error=error, stdout="y" * 20_000)]
    found = await used("run_python", {"code": "1/0"}, call)
    assert found.failed and not found.structured.ok and len(found.structured.error.traceback) < 2100
    assert "The code ended with ZeroDivisionError: division by zero" in found.content[0].text
    assert "\x1b" not in found.content[0].text and "characters before this are left out" in found.structured.stdout


async def test_code_that_says_nothing_is_told_so(api: ChatApi, call: Call) -> None:
    api.code = [end()]
    found = await used("run_python", {"code": "x = 1"}, call)
    assert "print what you want to see" in found.content[0].text and not found.failed


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([{"type": "error", "done": True, "error": {"code": "sandbox_lost", "detail": "The sandbox ended."}}], "ended"),
        ([{"type": "start", "content": "", "done": False}], "broke off"),
        ([], "broke off"),
    ],
)
async def test_a_run_that_breaks_off_is_a_failure(api: ChatApi, call: Call, events: Any, reason: str) -> None:
    api.code = events
    with pytest.raises(ToolFailed, match=reason):
        await used("run_python", {"code": "1"}, call)


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (TooManyRequests("16 runs of code are under way.", retry_after_seconds=1), r"under way\. Try again later"),
        (ValidationFailed("is at most 300.", param="timeout_seconds"), "`timeout_seconds`: is at most 300"),
        (NotFound("No such file."), "no file among yours"),
    ],
)
async def test_what_the_chat_api_refuses_is_told_to_the_model(
    api: ChatApi, call: Call, refusal: Any, reason: str
) -> None:
    api.refusal = problem_response(refusal)
    with pytest.raises(ToolFailed, match=reason):
        await used("run_python", {"code": "1"}, call)


@pytest.mark.parametrize(
    "file",
    [
        {"name": "../etc/passwd", "content": "x"},
        {"name": "/etc/passwd", "content": "x"},
        {"name": "", "content": "x"},
        {"name": "a" * 300, "content": "x"},
        {"name": "a", "content": "x", "content_base64": "eA=="},
        {"name": "a"},
        {"name": "a", "content_base64": "no base64!"},
        {"name": "a", "content": "x", "mode": "0777"},
    ],
)
async def test_a_file_that_is_given_wrongly_is_refused_before_anything_runs(
    api: ChatApi, call: Call, file: dict[str, Any]
) -> None:
    with pytest.raises(ToolFailed, match="files"):
        await used("run_python", {"code": "1", "files": [file]}, call)
    assert not api.asked


async def test_a_runs_story_is_told_in_lines(api: ChatApi, call: Call) -> None:
    found = (await used("get_run", {"run_id": RUN}, call)).structured
    assert found.text().splitlines() == [
        f"Run {RUN} (code): failed after 12 ms",
        "Error: sandbox_lost: It ended.",
        "- run_code: failed (sandbox_lost: It ended.)",
        f"- file data.bin (2 bytes): capibara6://files/{BLOB}",
    ]
    assert api.asked[0].headers[ON_BEHALF_HEADER] == "ana" and PARENT_RUN_HEADER not in api.asked[0].headers


async def test_a_run_of_somebody_else_is_none(call: Call) -> None:
    with pytest.raises(ToolFailed, match=r"no run .* among yours"):
        await used("get_run", {"run_id": str(uuid7())}, call)
    with pytest.raises(ToolFailed, match="run_id"):
        await used("get_run", {"run_id": "the last one"}, call)


async def test_a_flow_is_started_once_however_often_a_run_says_so(api: ChatApi, call: Call) -> None:
    asked = {"flow": "code-batch", "parameters": {"jobs": [{"code": "1"}]}}
    first = await used("start_flow", asked, call)
    await used("start_flow", asked, call)
    starts = [request for request in api.asked if request.method == "POST"]
    assert len({request.headers["idempotency-key"] for request in starts}) == 1
    assert starts[0].headers[PARENT_RUN_HEADER] == str(call.run_id)
    assert api.bodies[0] == {"parameters": asked["parameters"]}
    assert first.structured.run_id == RUN and "flow_status" in first.structured.text()
    await used("start_flow", {**asked, "parameters": {}}, call)
    assert api.asked[-1].headers["idempotency-key"] != starts[0].headers["idempotency-key"]


@pytest.mark.parametrize("tools", [["fetch_url"], [], "fetch_url", '["start_flow"]', True, {"fetch_url": 1}, 1])
async def test_what_a_flow_may_do_is_never_set_by_a_model(api: ChatApi, call: Call, tools: Any) -> None:
    with pytest.raises(ToolFailed, match="decided by people"):
        await used("start_flow", {"flow": "chat", "parameters": {"message": "x", "tools": tools}}, call)
    assert not api.asked


@pytest.mark.parametrize("tools", [{}, {"tools": None}, {"tools": False}])
async def test_a_flow_may_be_started_with_the_usual_tools_or_none(api: ChatApi, call: Call, tools: Any) -> None:
    await used("start_flow", {"flow": "chat", "parameters": {"message": "x", **tools}}, call)
    assert api.bodies == [{"parameters": {"message": "x", **tools}}]


@pytest.mark.parametrize("flow", ["nothing", "../runs/x/cancel?", "code-batch/../chat"])
async def test_a_flow_that_is_not_there_is_refused_with_those_that_are(api: ChatApi, call: Call, flow: str) -> None:
    with pytest.raises(ToolFailed, match=r"There are:\n- code-batch\n- chat"):
        await used("start_flow", {"flow": flow, "parameters": {}}, call)
    assert all(request.method == "GET" for request in api.asked)


async def test_a_flows_status_says_whether_it_is_done(call: Call) -> None:
    found = (await used("flow_status", {"run_id": RUN}, call)).structured
    assert found.finished and found.status == "failed" and "sandbox_lost" in found.text()


async def test_earlier_conversations_are_found_by_words(api: ChatApi, call: Call) -> None:
    found = (await used("search_conversations", {"query": "río", "limit": "3"}, call)).structured
    assert "2026-11-27 user in “Ríos” (c): el «río» Ebro" in found.text()
    assert dict(api.asked[0].query_params) == {"q": "río", "limit": "3"}
    none = (await used("search_conversations", {"query": "mar"}, call)).structured
    assert none.results == [] and "No message" in none.text()


async def test_models_are_listed(call: Call) -> None:
    assert (await used("list_models", {}, call)).structured.text().splitlines() == [
        "- phi4_fast (loaded): description: General questions; capabilities: tools, tool_calls guided",
        "- qwen_coder (available)",
    ]


async def read(uri: str, call: Call) -> Any:
    for resource in REGISTRY.resources.values():
        variables = resource.match(uri)
        if variables is not None:
            return await resource.read(call, **variables)
    raise AssertionError(uri)


async def test_resources_are_the_callers_own(api: ChatApi, call: Call) -> None:
    assert (await read(f"capibara6://runs/{RUN}", call))["kind"] == "code"
    told = await read(f"capibara6://conversations/{RUN}", call)
    assert told.startswith("# Saludos\n\n## User, 2026-11-27 10:00:00\n\nhola\n\n## Assistant (phi4_fast)")
    assert (await read("capibara6://models", call)).models[0].id == "phi4_fast"
    assert await read(f"capibara6://files/{BLOB}", call) == b"\x00\xff"
    text = await read(f"capibara6://files/{TEXT}", call)
    assert isinstance(text, str) and text.startswith("año año") and len(text.encode()) <= 151
    assert all(request.headers[ON_BEHALF_HEADER] == "ana" for request in api.asked)


async def test_of_a_long_conversation_only_what_has_room_is_asked_for(api: ChatApi, call: Call) -> None:
    api.said = [
        {"id": str(uuid.UUID(int=number + 1)), "role": "user", "content": f"message {number}", "model": None,
         "created_at": "2026-11-27T10:00:00Z"}
        for number in range(3000)
    ]  # fmt: skip
    roomy: Any = call.parts.settings
    roomy.mcp_resource_bytes = 3000
    told = await read(f"capibara6://conversations/{RUN}", call)
    assert len(told) <= 3000 and told.startswith("# Saludos\n\n[Earlier messages are left out.]\n\n## User")
    assert told.endswith("message 2999\n") and "message 2970\n" in told
    assert len(api.asked) == 3
    roomy.mcp_resource_bytes = 10**6
    told = await read(f"capibara6://conversations/{RUN}", call)
    assert told.count("## User") == 1000 and "message 2000\n" in told and "Earlier messages" in told
    api.said = api.said[:40]
    told = await read(f"capibara6://conversations/{RUN}", call)
    assert told.count("## User") == 40 and "Earlier messages" not in told


@pytest.mark.parametrize(
    "uri", ["capibara6://runs/last", "capibara6://files/..", f"capibara6://runs/{uuid.UUID(int=9)}"]
)
async def test_a_resource_that_is_not_there_is_unknown(call: Call, uri: str) -> None:
    with pytest.raises(UnknownResource):
        await read(uri, call)


async def test_runs_are_listed_page_by_page(api: ChatApi, call: Call) -> None:
    resource = REGISTRY.resources["capibara6://runs/{run_id}"]
    assert resource.lister is not None
    page = await resource.lister(call, "here")
    assert page.next_cursor == "more" and page.entries[0].uri == f"capibara6://runs/{RUN}"
    assert api.asked[0].query_params["cursor"] == "here"
    assert await resource.complete["run_id"](RUN[:4], call) == [RUN]
