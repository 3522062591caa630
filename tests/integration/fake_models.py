"""A model server for tests: OpenAI's stream, with words that say what should go wrong. Not for the end-to-end tests.

In the last message: `tokens=N`, `every=SECONDS` (between tokens), `wait=SECONDS` (before the headers),
`first=SECONDS` (before the first token), `die=N` (the connection breaks after N tokens), `error=N` (an error event
after N tokens), `status=CODE`, `die_once=WORD` (the first call with this word breaks before its first token),
`says=(TEXT)` (instead of so many tokens), `finish=REASON`, `gate=WORD` (after its tokens it waits for
`POST /watch/gate/WORD`), `full_once=WORD` (the first call with this word is told to come back in a second).

Where the request has tools, it makes calls after its tokens: `call=NAME{"its": "arguments"}` (again and again), or
`calls=[{"name": …, "arguments": …}, …]`, whose arguments are sent as they are where they are a string. `always=[…]` in
the last user message makes them after every result, too. A request with a grammar gets the first of them as text.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

seen: list[dict[str, Any]] = []
state = {"open": 0, "waiting": 0, "pieces": 0}  # streams; calls whose headers wait; pieces sent so far
died: set[str] = set()
gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
CALL = re.compile(r"call=(\w+)(\{[^}]*\})?")


def asked(text: str, name: str, default: float) -> float:
    found = re.search(rf"{name}=([0-9.]+)", text)
    return float(found[1]) if found else default


def calls_of(body: dict[str, Any], text: str) -> list[tuple[str, str]]:
    """Names and arguments, as they are sent, of the calls that the request asks for."""
    if not body.get("tools") and "response_format" not in body:
        return []
    said = next((one["content"] for one in reversed(body["messages"]) if one["role"] == "user"), "")
    for word, where in (("calls=", text), ("always=", said)):
        _, found, script = where.partition(word)
        if found:
            wanted = json.JSONDecoder().raw_decode(script)[0]
            return [(one["name"], as_written(one["arguments"])) for one in wanted]
    return CALL.findall(text)


def as_written(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def in_pieces(name: str, arguments: str) -> list[str]:
    """A call as a small model writes it. Arguments that are no JSON are the whole of what it writes."""
    try:
        json.loads(arguments)
        form = f'{{"name": "{name}", "arguments": {arguments}}}'
    except ValueError:
        form = arguments
    return [form[at : at + 4] for at in range(0, len(form), 4)]


async def queued(request: Request, seconds: float) -> bool:
    """Waits as a queue does. False where the client has left."""
    state["waiting"] += 1
    gone = asyncio.ensure_future(request.receive())
    try:
        return not (await asyncio.wait({gone}, timeout=seconds))[0]
    finally:
        state["waiting"] -= 1
        gone.cancel()


async def completions(request: Request) -> Response:
    body = await request.json()
    text = body["messages"][-1]["content"]
    calls = calls_of(body, text)
    seen.append({"body": body, "headers": dict(request.headers)})
    if body["model"] == "nobody":
        detail = {"message": "model 'nobody' does not exist", "type": "invalid_request_error",
                  "param": "model", "code": "model_not_found"}  # fmt: skip
        return JSONResponse({"error": detail}, 404)
    full = re.search(r"full_once=(\w+)", text)
    if full and full[1] not in died:
        died.add(full[1])
        return JSONResponse({"error": {"message": "full", "code": "queue_full"}}, 429, {"retry-after": "1"})
    status = int(asked(text, "status", 200))
    if status != 200:
        detail = {"message": "the queue is full", "type": "rate_limit_error", "param": None, "code": "queue_full"}
        return JSONResponse({"error": detail}, status, {"retry-after": "7"})
    if not await queued(request, asked(text, "wait", 0)):
        return Response(status_code=499)
    model = "qwen_coder" if body["model"] == "auto" else body["model"]
    headers = {"x-capibara6-model": model, "x-capibara6-route": "test", "x-capibara6-queue-ms": "1.5"}
    if "response_format" in body and calls:
        pieces = in_pieces(*calls[0])
        return StreamingResponse(stream(text, model, [], pieces), media_type="text/event-stream", headers=headers)
    return StreamingResponse(stream(text, model, calls), media_type="text/event-stream", headers=headers)


async def stream(
    text: str, model: str, calls: list[tuple[str, str]], pieces: list[str] | None = None
) -> AsyncIterator[str]:
    """pieces: what is said, instead of so many tokens."""
    count, die, error = int(asked(text, "tokens", 3)), int(asked(text, "die", -1)), int(asked(text, "error", -1))
    state["open"] += 1
    try:
        word = re.search(r"die_once=(\w+)", text)
        if word and word[1] not in died:
            died.add(word[1])
            raise ConnectionError
        await asyncio.sleep(asked(text, "first", 0))
        says = re.search(r"says=\(([^)]*)\)", text)
        words = [f"{word} " for word in says[1].split()] if says else [f"t{index} " for index in range(count)]
        for index, piece in enumerate(pieces or words):
            if index == die:
                raise ConnectionError
            if index == error:
                yield f"data: {json.dumps({'error': {'message': 'the engine died', 'code': 'engine_died'}})}\n\n"
                return
            chunk = {"model": model, "choices": [{"index": 0, "delta": {"content": piece}}]}
            state["pieces"] += 1
            yield f"data: {json.dumps(chunk)}\n\n"
            await asyncio.sleep(asked(text, "every", 0))
        gate = re.search(r"gate=(\w+)", text)
        if gate:
            await gates[gate[1]].wait()
        for index, (name, arguments) in enumerate(calls):
            function = {"name": name, "arguments": arguments or "{}"}
            call = {"index": index, "id": f"made{index}", "type": "function", "function": function}
            asking = {"model": model, "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
            yield f"data: {json.dumps(asking)}\n\n"
        finish = re.search(r"finish=(\w+)", text)
        reason = finish[1] if finish else "tool_calls" if calls else "stop"
        last = {"model": model, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
        yield f"data: {json.dumps(last)}\n\n"
        usage = {"prompt_tokens": 7, "completion_tokens": count, "total_tokens": 7 + count}
        yield f"data: {json.dumps({'model': model, 'choices': [], 'usage': usage})}\n\n"
        yield "data: [DONE]\n\n"
    finally:
        state["open"] -= 1


async def models(_: Request) -> Response:
    chat = {"id": "qwen_coder", "object": "model", "capabilities": {"tools": True, "embeddings": False}}
    embedding = {"id": "embedder", "object": "model", "capabilities": {"embeddings": True}}
    return JSONResponse({"object": "list", "data": [chat, embedding]})


async def route(request: Request) -> JSONResponse:
    """As the model server explains a choice. `guided` or `native` in the model's id says how it calls tools."""
    body = await request.json()
    if body["model"] == "nobody":
        detail = {"message": "model 'nobody' does not exist", "type": "invalid_request_error",
                  "param": "model", "code": "model_not_found"}  # fmt: skip
        return JSONResponse({"error": detail}, 404)
    model = "qwen_coder" if body["model"] == "auto" else body["model"]
    able = {"tools": model != "no_tools", "tool_calls": "guided" if "guided" in model else "native"}
    return JSONResponse({"model": model, "reason": "test", "capabilities": able, "max_model_len": 4096})


async def tokenize(request: Request) -> JSONResponse:
    """A token for every four characters."""
    body = await request.json()
    return JSONResponse({"counts": [-(-len(text) // 4) for text in body["prompt"]], "max_model_len": 4096})


async def load(request: Request) -> JSONResponse:
    model = request.path_params["model"]
    if model == "nobody":
        return JSONResponse({"error": {"message": "model 'nobody' does not exist", "code": "model_not_found"}}, 404)
    if model.startswith("full_once_") and model not in died:
        died.add(model)
        return JSONResponse({"error": {"message": "no memory", "code": "no_memory"}}, 503, {"retry-after": "1"})
    return JSONResponse({"model": model, "status": "loaded", "load_seconds": 0.25})


async def ready(_: Request) -> Response:
    return JSONResponse({"status": "ready"})


async def open_gate(request: Request) -> Response:
    gates[request.path_params["word"]].set()
    return Response(status_code=204)


async def watch_state(_: Request) -> Response:
    """The same without the calls."""
    return JSONResponse(state)


async def watch(_: Request) -> Response:
    """What the tests look at: the calls so far, and the streams open now."""
    return JSONResponse({"seen": seen, **state})


app = Starlette(
    routes=[
        Route("/v1/chat/completions", completions, methods=["POST"]),
        Route("/v1/route", route, methods=["POST"]),
        Route("/tokenize", tokenize, methods=["POST"]),
        Route("/v1/models", models),
        Route("/models/{model}/load", load, methods=["POST"]),
        Route("/health/ready", ready),
        Route("/watch", watch),
        Route("/watch/state", watch_state),
        Route("/watch/gate/{word}", open_gate, methods=["POST"]),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
