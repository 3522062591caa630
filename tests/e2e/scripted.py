"""Servers whose answers are written down: what is told of alerts, and a model that does call tools."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@contextmanager
def hearing() -> Iterator[tuple[str, list[Json]]]:
    """An address that is told things, and what it was told."""
    told: list[Json] = []

    class Heard(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with listening(Heard) as url:
        yield f"{url}/alert", told


@contextmanager
def answering_models(tool: str = "calculate", **arguments: Any) -> Iterator[tuple[str, list[Json]]]:
    """A model server whose model calls this tool (its name's end) once and then is done; and what it was asked."""
    asked: list[Json] = []

    def message(body: Json) -> Json:
        if any(one["role"] == "tool" for one in body["messages"]):
            return {"role": "assistant", "content": "It is done."}
        [name] = [one["function"]["name"] for one in body["tools"] if one["function"]["name"].endswith(tool)]
        call = {"name": name, "arguments": json.dumps(arguments)}
        return {
            "role": "assistant", "content": "", "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
        }  # fmt: skip

    class Models(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            said = message(asked[-1])
            reason = "tool_calls" if "tool_calls" in said else "stop"
            data = json.dumps({
                "id": "1", "object": "chat.completion", "created": 1, "model": "scripted",
                "choices": [{"index": 0, "message": said, "finish_reason": reason}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with listening(Models) as url:
        yield f"{url}/v1", asked


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
