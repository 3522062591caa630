"""A model server for tests: OpenAI's stream, with words that say what should go wrong. Not for the end-to-end tests.

In the last message: `tokens=N`, `every=SECONDS` (between tokens), `wait=SECONDS` (before the headers),
`die=N` (the connection breaks after N tokens), `error=N` (an error event after N tokens), `status=CODE`,
`die_once=WORD` (the first call with this word breaks before its first token), `finish=REASON`; where the
request has tools, `call=NAME{"its": "arguments"}` (again and again) for the calls it makes after its tokens.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

seen: list[dict[str, Any]] = []
state = {"open": 0}
died: set[str] = set()
CALL = re.compile(r"call=(\w+)(\{[^}]*\})?")


def asked(text: str, name: str, default: float) -> float:
    found = re.search(rf"{name}=([0-9.]+)", text)
    return float(found[1]) if found else default


async def completions(request: Request) -> Response:
    body = await request.json()
    text = body["messages"][-1]["content"]
    calls = CALL.findall(text) if body.get("tools") else []
    seen.append({"body": body, "headers": dict(request.headers)})
    if body["model"] == "nobody":
        detail = {"message": "model 'nobody' does not exist", "type": "invalid_request_error",
                  "param": "model", "code": "model_not_found"}  # fmt: skip
        return JSONResponse({"error": detail}, 404)
    status = int(asked(text, "status", 200))
    if status != 200:
        detail = {"message": "the queue is full", "type": "rate_limit_error", "param": None, "code": "queue_full"}
        return JSONResponse({"error": detail}, status, {"retry-after": "7"})
    await asyncio.sleep(asked(text, "wait", 0))
    model = "qwen_coder" if body["model"] == "auto" else body["model"]
    headers = {"x-capibara6-model": model, "x-capibara6-route": "test", "x-capibara6-queue-ms": "1.5"}
    return StreamingResponse(stream(text, model, calls), media_type="text/event-stream", headers=headers)


async def stream(text: str, model: str, calls: list[tuple[str, str]]) -> AsyncIterator[str]:
    count, die, error = int(asked(text, "tokens", 3)), int(asked(text, "die", -1)), int(asked(text, "error", -1))
    state["open"] += 1
    try:
        word = re.search(r"die_once=(\w+)", text)
        if word and word[1] not in died:
            died.add(word[1])
            raise ConnectionError
        for index in range(count):
            if index == die:
                raise ConnectionError
            if index == error:
                yield f"data: {json.dumps({'error': {'message': 'the engine died', 'code': 'engine_died'}})}\n\n"
                return
            chunk = {"model": model, "choices": [{"index": 0, "delta": {"content": f"t{index} "}}]}
            yield f"data: {json.dumps(chunk)}\n\n"
            await asyncio.sleep(asked(text, "every", 0))
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


async def ready(_: Request) -> Response:
    return JSONResponse({"status": "ready"})


async def watch(_: Request) -> Response:
    """What the tests look at: the calls so far, and the streams open now."""
    return JSONResponse({"seen": seen, "open": state["open"]})


app = Starlette(
    routes=[
        Route("/v1/chat/completions", completions, methods=["POST"]),
        Route("/v1/route", route, methods=["POST"]),
        Route("/tokenize", tokenize, methods=["POST"]),
        Route("/v1/models", models),
        Route("/health/ready", ready),
        Route("/watch", watch),
    ]
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
