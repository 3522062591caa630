"""What the benchmarks share: a streamed question, and the time to its first token."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from stack.secrets import load_secrets
from stack.settings import Settings
from stack.topology import keys_needed

DONE = "[DONE]"


def client(base_url: str, *, socket: Path | None = None, headers: dict[str, str] | None = None) -> httpx.Client:
    """A client that keeps its connection; `socket` for an engine's own unix socket."""
    transport = httpx.HTTPTransport(uds=str(socket)) if socket else None
    return httpx.Client(base_url=base_url, transport=transport, headers=headers, timeout=600, trust_env=False)


def operator_headers(settings: Settings, service: str) -> dict[str, str]:
    """The operator's key, where the service asks for one."""
    if not keys_needed(settings, service):
        return {}
    return {"authorization": f"Bearer {load_secrets(settings).operator_key.get_secret_value()}"}


def question() -> str:
    """The same length each time, and a beginning no cache has seen: digits are one token each."""
    return f"{random.randrange(10**11, 10**12)}: name a colour."


def chat_request(model: str, max_tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": question()}]
    return {"model": model, "messages": messages, "max_tokens": max_tokens, "temperature": 0, "stream": True}


def events(reply: httpx.Response) -> Iterator[str]:
    """The data of each server-sent event."""
    for line in reply.iter_lines():
        if line.startswith("data:"):
            yield line[5:].strip()


def openai_first_token(http: httpx.Client, request: dict[str, Any]) -> float:
    """Seconds from sending a streamed chat completion to its first text. Reads the answer to its end.

    Raises RuntimeError when the answer is an error or has no text.
    """
    first: float | None = None
    started = time.perf_counter()
    with http.stream("POST", "/v1/chat/completions", json=request) as reply:
        if reply.status_code != 200:
            raise RuntimeError(f"status {reply.status_code}: {reply.read()[:500]!r}")
        for data in events(reply):
            if data == DONE:
                break
            chunk = json.loads(data)
            if "error" in chunk:
                raise RuntimeError(f"the stream broke: {chunk['error']}")
            if first is None and any(choice["delta"].get("content") for choice in chunk["choices"]):
                first = time.perf_counter() - started
    if first is None:
        raise RuntimeError("the answer has no text")
    return first


def chat_first_token(http: httpx.Client, request: dict[str, Any]) -> float:
    """Seconds from sending to `POST /api/chat/stream` to its first event of type `token`. Raises RuntimeError."""
    first: float | None = None
    started = time.perf_counter()
    with http.stream("POST", "/api/chat/stream", json=request) as reply:
        if reply.status_code != 200:
            raise RuntimeError(f"status {reply.status_code}: {reply.read()[:500]!r}")
        for data in events(reply):
            event = json.loads(data)
            if event["type"] == "error":
                raise RuntimeError(f"the stream broke: {event}")
            if first is None and event["type"] == "token":
                first = time.perf_counter() - started
    if first is None:
        raise RuntimeError("the answer has no token")
    return first


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 90th percentile."""
    p90 = statistics.quantiles(seconds, n=10)[-1] if len(seconds) > 1 else seconds[0]
    return {"median_ms": round(statistics.median(seconds) * 1000, 2), "p90_ms": round(p90 * 1000, 2)}


def report(result: dict[str, Any], path: Path | None) -> None:
    """Prints the one JSON object, and writes it where asked."""
    text = json.dumps(result, indent=2)
    print(text)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
